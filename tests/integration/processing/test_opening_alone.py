"""An instance that opens without Redis and is stopped before Redis is back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from breaker import CircuitBreaker, CircuitState
from breaker.cli.circuits import build
from local.services import ports
from local.services.cloud import cloud_service
from local.services.console import console_service
from local.site import SiteState
from tests.support.own_redis import Server
from tests.support.processes import running_service

KEY = "topic-key"
TOKEN = "a-token-of-32-characters-for-test"
ALERT = "breakwater:1:opened"
RETRY_SCALE = "0.02"


@dataclass
class Site:
    """The surroundings of a function app: Redis, console, and Event Grid with the workflow."""

    redis: Server
    settings: dict[str, str]
    state_dir: Path
    cloud_url: str
    client: httpx.AsyncClient
    """A client of the console's API."""

    @property
    def state(self) -> str:
        return SiteState(self.state_dir).read()

    async def runs(self) -> list[dict[str, Any]]:
        answer = await self.client.get(f"{self.cloud_url}/workflows/runs")
        runs: list[dict[str, Any]] = answer.json()["runs"]
        return runs

    async def run_reaches(self, state: str, *, detail: str = "") -> None:
        """Wait until a run is in the state, with this detail of the approval if given."""
        async with asyncio.timeout(40):
            while not any(
                run["state"] == state
                and (not detail or detail in [step["detail"] for step in run["steps"]])
                for run in await self.runs()
            ):
                await asyncio.sleep(0.05)

    async def runs_end(self, count: int) -> None:
        """Wait until so many runs have succeeded, or were cancelled because others did."""
        async with asyncio.timeout(40):
            while True:
                states = [run["state"] for run in await self.runs()]
                if len(states) >= count and {*states} <= {"Succeeded", "Cancelled"}:
                    return
                await asyncio.sleep(0.05)

    async def delivered(self, count: int) -> set[str]:
        """Wait for so many deliveries to the workflow, and return the ids of their events."""
        topic = f"{self.cloud_url}/topics/breakwater/events"
        async with asyncio.timeout(40):
            while True:
                answer = await self.client.get(topic, headers={"aeg-sas-key": KEY})
                delivered = [
                    event["id"]
                    for event in answer.json()["events"]
                    for delivery in event["deliveries"]
                    if delivery["status"] == "delivered"
                ]
                if len(delivered) >= count:  # Event Grid delivers at least once
                    return set(delivered)
                await asyncio.sleep(0.05)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Server]:
    directory = tmp_path / "redis"
    directory.mkdir()
    made = Server(directory)
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def site(own_redis: Server, tmp_path: Path) -> AsyncIterator[Site]:
    port, console_port = ports.free_port(), ports.free_port()
    cloud_url, console_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{console_port}"
    settings = {
        "REDIS_URL": own_redis.url,
        "BREAKER_FAILURE_THRESHOLD": "2",
        "BREAKER_STORE_GRACE_SECONDS": "0.3",
        "BREAKER_POLL_SECONDS": "0.05",
        "EVENT_GRID_TOPIC_ENDPOINT": f"{cloud_url}/topics/breakwater/api/events",
        "EVENT_GRID_TOPIC_KEY": KEY,
    }
    console = console_service(console_port, token=TOKEN, app_settings=settings)
    cloud = cloud_service(
        port,
        tmp_path,
        topic_key=KEY,
        console_url=console_url,
        console_token=TOKEN,
        arguments=("--workflow-retry-scale", RETRY_SCALE),
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with running_service(console, tmp_path), running_service(cloud, tmp_path):
        async with httpx.AsyncClient(base_url=console_url, headers=headers) as client:
            yield Site(own_redis, settings, tmp_path, cloud_url, client)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def open_alone(site: Site) -> None:
    """Kill Redis, and open an instance's circuit, upon which the workflow stops the app."""
    instance: CircuitBreaker
    async with build(site.settings) as instance:
        site.redis.send(signal.SIGKILL)
        site.redis.stop()
        await until(lambda: instance.circuit.degraded and instance.circuit.admits)
        permit = await instance.try_acquire()
        for number in range(2):
            circuit = await instance.record_failure(f"{number}", "refused", permit)
        assert (circuit.state, circuit.generation) == (CircuitState.OPEN, 1)
        await until(lambda: site.state == "Stopped")


async def test_opening_of_a_stopped_instance_can_be_approved(site: Site) -> None:
    """The opening is in Redis again once Redis is back, and its approval starts the app."""
    await open_alone(site)
    answer = await site.client.get("/api/circuits/breakwater")
    assert answer.status_code == 503, answer.text
    site.redis.start()
    await site.run_reaches("WaitingForApproval", detail="waiting for the callback")
    assert site.state == "Stopped"
    answer = await site.client.post(
        "/api/circuits/breakwater/approve", json={"generation": 1, "by": "ann"}
    )
    assert answer.status_code == 200, answer.text
    await site.run_reaches("Succeeded", detail="by ann")
    assert site.state == "Running"
    history = (await site.client.get("/api/circuits/breakwater/history")).json()["history"]
    # The lost opening is published again with the same id. If that comes after the approval, the
    # second run of the workflow sees that the opening has passed, and changes nothing. If it comes
    # before, both runs stop the app, ask, and start the app.
    changes = {(each["event"], each["generation"]): None for each in reversed(history)}
    assert list(changes) == [
        ("stop_accepted", 1),
        ("approval_requested", 1),
        ("opened", 1),
        ("approved", 1),
        ("half_opened", 1),
        ("start_accepted", 1),
    ]
    assert await site.delivered(2) == {ALERT}
    await site.runs_end(2)
    assert site.state == "Running"
