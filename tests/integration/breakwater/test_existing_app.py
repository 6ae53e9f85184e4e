"""Breakwater's functions in an app that has functions of its own, in a real host process."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from local.event_hubs import EventHubsServer
from processing.formats.event_fields import key_hash
from tests.support.event_hubs.client_helpers import HUB, hub, send
from tests.support.event_hubs.sdk_leaks import sdk_leaks_collected
from tests.support.local.functions_host import HostProcess, host_processes
from tests.support.processes import wait_for


@dataclass
class App:
    """The running app."""

    host: HostProcess
    server: EventHubsServer
    release: Path

    async def wait(self, text: str) -> None:
        """Wait until the host's output has a text."""
        await asyncio.to_thread(
            wait_for, lambda: text in self.host.output(), lambda: f"{text}\n{self.host.output()}"
        )

    async def send(self, *bodies: dict[str, object], key: str) -> None:
        await send(self.server, [json.dumps(body) for body in bodies], partition_key=key)


@pytest.fixture
async def app(tmp_path: Path, redis_url: str, azurite: str) -> AsyncIterator[App]:
    release = tmp_path / "release"
    with sdk_leaks_collected():
        async with EventHubsServer(hub(2)) as server:
            settings = {
                "AzureWebJobsStorage": azurite,
                "AzureFunctionsWebHost__hostid": uuid.uuid4().hex,
                "EventHubConnection": server.connection_string,
                "EVENT_HUB_NAME": HUB,
                "EVENT_HUB_CONSUMER_GROUP": "$Default",
                "EVENT_HANDLER": "orders:handle",
                "POISON_QUEUE": f"p{uuid.uuid4().hex[:12]}",
                "REDIS_URL": redis_url,
                "RELEASE": str(release),
            }
            with host_processes(tmp_path, settings) as hosts:
                host = hosts.start("existing")
                await asyncio.to_thread(host.wait_started)
                yield App(host, server, release)


async def test_app_keeps_its_functions_and_handles_events(app: App) -> None:
    """Events, health and the app's own route work side by side; Ctrl-C shows no traceback."""
    await app.send({"amount": 1}, {"amount": 2}, {}, {"amount": 3}, key="alice")
    await app.wait("alice: 3")
    async with httpx.AsyncClient(base_url=f"{app.host.url}/api") as client:
        assert (await client.get("orders/7")).text == "order 7"
        assert (await client.get("breakwater/live")).text == "ok"
        health = await client.get("breakwater/health")
    assert health.status_code == 200
    assert health.json()["circuit"]["state"] == "closed"

    await app.send({"amount": 4, "waits": True}, {"amount": 5}, key="alice")
    await app.wait("alice: 4")
    app.host.process.send_signal(signal.SIGINT)
    await app.wait("received SIGINT; the host stops")
    app.release.touch()
    assert await asyncio.to_thread(app.host.process.wait, 60) == 0

    output = app.host.output()
    assert [line for line in output.splitlines() if line.startswith("alice: ")] == [
        f"alice: {n}" for n in (1, 2, 3, 4)
    ]
    (poisoned,) = [line for line in output.splitlines() if "poison queue" in line]
    assert poisoned.endswith(
        f"(attempts: 1): processing.errors.PoisonEventError: no amount; key hash "
        f"{key_hash('alice')}; at orders.py:14 handle"
    )
    assert "Traceback" not in output
    assert "ShutdownError" in output  # the batch did not end, so its second event comes again
    assert "Executing 'Functions.breakwater_process_events'" not in output  # at debug, as before
    assert "'Functions.breakwater_replay_deferred' (" not in output
