"""The lock of a timer on real storage."""

from __future__ import annotations

import asyncio
import uuid

from azure.storage.blob.aio import ContainerClient

from local.functions_host.triggers.timer.lease import SingletonLease


async def test_the_lease_of_a_paused_instance_expires(azurite: str) -> None:
    """The lease expires without a request to storage, because another instance may hold it."""
    now = [0.0]
    name = f"leases{uuid.uuid4().hex[:8]}"
    async with ContainerClient.from_connection_string(azurite, name) as container:
        lease = SingletonLease(container, "timer", clock=lambda: now[0])
        other = SingletonLease(container, "timer")
        async with asyncio.timeout(60):
            lease.start()
            await lease.wait()
            other.start()
            # An expired lease stays expired until storage grants a new one.
            for now[0], held in ((14.9, True), (15.0, False), (14.9, False)):
                assert lease.held is held
            assert not other.held
        await lease.stop()
        await other.stop()
