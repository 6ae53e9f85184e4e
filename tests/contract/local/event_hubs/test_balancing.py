"""Consumers in several processes, which share the partitions by the SDK's own balancing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from azure.storage.blob import ContainerClient

from local.event_hubs import EventHubsServer
from local.services.child import REPOSITORY
from tests.support.event_hubs.client_helpers import HUB, append, hub, until

PARTITIONS = 6


class Member:
    """One consumer process and its output."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.owned: set[str] = set()
        self.events: list[tuple[str, str]] = []

    async def read_output(self) -> None:
        """Read the output of the process until the process ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            kind, _, partition, *body = line.decode().split()
            if kind == "owns":
                self.owned.add(partition)
            elif kind == "left":
                self.owned.discard(partition)
            else:
                self.events.append((partition, body[0]))


@contextlib.asynccontextmanager
async def members(
    server: EventHubsServer, azurite: str, container: str, names: str
) -> AsyncIterator[list[Member]]:
    """Start one member per name, and kill the remaining members at the end."""
    started = [
        Member(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.support.event_hubs.member"),
                *(server.connection_string, HUB, container, name),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=REPOSITORY,
                env=os.environ | {"STORAGE": azurite},
            )
        )
        for name in names
    ]
    reading = [asyncio.create_task(member.read_output()) for member in started]
    try:
        yield started
    finally:
        for member in started:
            with contextlib.suppress(ProcessLookupError):
                member.process.kill()
            assert member.process.stdin is not None
            member.process.stdin.close()
        await asyncio.gather(*reading)
        for member in started:
            await member.process.wait()


@pytest.fixture
def container(azurite: str) -> str:
    name = f"balancing-{uuid.uuid4().hex[:8]}"
    with ContainerClient.from_connection_string(azurite, name) as client:
        client.create_container()
    return name


@pytest.mark.long
async def test_three_processes_share_six_partitions(azurite: str, container: str) -> None:
    """Each process owns two; survivors continue at the checkpoints of a killed process."""
    async with EventHubsServer(hub(PARTITIONS)) as server:
        async with members(server, azurite, container, "abc") as (a, b, c):
            everything = {str(n) for n in range(PARTITIONS)}
            # Both conditions, because an old owner may report a loss after the new owner reports.
            await until(
                lambda: (
                    [len(each.owned) for each in (a, b, c)] == [2, 2, 2]
                    and a.owned | b.owned | c.owned == everything
                )
            )
            for partition in range(PARTITIONS):
                append(server, [b"%d-%d" % (partition, n) for n in range(5)], partition)
            await until(lambda: sum(len(each.events) for each in (a, b, c)) >= 5 * PARTITIONS)
            seen = Counter(event for each in (a, b, c) for event in each.events)
            assert set(seen.values()) == {1}, "an event was delivered twice before any takeover"
            c.process.kill()
            await until(lambda: len(a.owned) == len(b.owned) == 3)
            for partition in range(PARTITIONS):
                append(server, [b"%d-5" % partition], partition)
            await until(lambda: sum(e[1].endswith("-5") for e in a.events + b.events) == PARTITIONS)
        assert set(Counter(a.events + b.events).values()) == {1}
        # Process c may have been killed before the checkpoint of its last event.
        assert set(c.events) & set(a.events + b.events) <= {
            (partition, f"{partition}-4") for partition in c.owned
        }
