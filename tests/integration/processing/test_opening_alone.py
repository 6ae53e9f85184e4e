"""Redis is away, an instance opens alone, and is stopped before anybody else hears of it."""

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
from breaker.__main__ import build
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
    """A function app's surroundings: Redis, console, and Event Grid with the workflow."""

    redis: Server
    settings: dict[str, str]
    state_dir: Path
    cloud_url: str
    client: httpx.AsyncClient
    """The console's caller."""

    @property
    def state(self) -> str:
        return SiteState(self.state_dir).read()

    async def runs(self) -> list[dict[str, Any]]:
        answer = await self.client.get(f"{self.cloud_url}/workflows/runs")
        runs: list[dict[str, Any]] = answer.json()["runs"]
        return runs

    async def run_reaches(self, state: str, step: str) -> None:
        """The only run is in that state, and that step of it has succeeded."""
        async with asyncio.timeout(40):
            while not any(
                (each["name"], each["status"]) == (step, "Succeeded")
                for run in await self.runs()
                if run["state"] == state
                for each in run["steps"]
            ):
                await asyncio.sleep(0.05)

    async def delivered(self, count: int) -> set[str]:
        """The ids of the openings that the workflow was told of, once it was told that often."""
        topic = f"{self.cloud_url}/topics/breakwater/events"
        async with asyncio.timeout(40):
            while True:
                answer = await self.client.get(topic, headers={"aeg-sas-key": KEY})
                told = [
                    event["id"]
                    for event in answer.json()["events"]
                    for delivery in event["deliveries"]
                    if delivery["status"] == "delivered"
                ]
                if len(told) >= count:  # at least once
                    return set(told)
                await asyncio.sleep(0.05)


@pytest.fixture
def redis_of_its_own(tmp_path: Path) -> Iterator[Server]:
    directory = tmp_path / "redis"
    directory.mkdir()
    made = Server(directory)
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def site(redis_of_its_own: Server, tmp_path: Path) -> AsyncIterator[Site]:
    port, console_port = ports.free_port(), ports.free_port()
    cloud_url, console_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{console_port}"
    settings = {
        "REDIS_URL": redis_of_its_own.url,
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
            yield Site(redis_of_its_own, settings, tmp_path, cloud_url, client)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def open_alone(site: Site) -> None:
    """Redis is killed, an instance of the app opens alone and is stopped by the workflow."""
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


async def test_an_opening_that_only_a_stopped_instance_knew_is_approved(site: Site) -> None:
    """Once Redis is back it is there to approve, once, and approving it starts the app."""
    await open_alone(site)
    answer = await site.client.get("/api/circuits/breakwater")
    assert answer.status_code == 503, answer.text
    site.redis.start()
    await site.run_reaches("WaitingForApproval", "request_approval")
    assert site.state == "Stopped"
    answer = await site.client.post(
        "/api/circuits/breakwater/approve", json={"generation": 1, "by": "ann"}
    )
    assert answer.status_code == 200, answer.text
    await site.run_reaches("Succeeded", "start")
    assert site.state == "Running"
    history = (await site.client.get("/api/circuits/breakwater/history")).json()["history"]
    told = [(each["event"], each["generation"]) for each in reversed(history)]
    assert told == [("opened", 1), ("approved", 1), ("half_opened", 1)]
    # A store that has lost an opening tells of it again, under the same id: no second run.
    assert await site.delivered(2) == {ALERT}
    assert len(await site.runs()) == 1
