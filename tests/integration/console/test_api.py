"""The console as a process: approvals over HTTP, on a real Redis."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from breaker import BreakerSettings, CircuitBreaker, CircuitState, Permit, RedisCircuitStore
from local.services.ports import free_port
from tests.support.patience import HANG_SECONDS, STORE_SECONDS

ROOT = Path(__file__).parents[3]
TOKEN = "a-token-of-32-characters-for-test"
SETTINGS = BreakerSettings(name="c", failure_threshold=1)


@dataclass
class Outside:
    """The services that the console calls: a workflow's callback and an Event Grid topic."""

    url: str = ""
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    async def callback(self, request: web.Request) -> web.Response:
        self.callbacks.append(await request.json())
        return web.Response()

    async def topic(self, request: web.Request) -> web.Response:
        self.events.extend(await request.json())
        return web.Response()


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    made = Outside()
    application = web.Application()
    application.router.add_post("/callback", made.callback)
    application.router.add_post("/topic", made.topic)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = site.name
    yield made
    await runner.cleanup()


def console_environment(redis_url: str, outside: Outside, **settings: str) -> dict[str, str]:
    return {
        **os.environ,
        "REDIS_URL": redis_url,
        "BREAKER_NAME": "c",
        "BREAKER_STORE_TIMEOUT_SECONDS": f"{STORE_SECONDS}",
        "CONSOLE_TOKEN": TOKEN,
        "CONSOLE_DELIVERY_SECONDS": "0.2",
        "EVENT_GRID_TOPIC_ENDPOINT": f"{outside.url}/topic",
        "EVENT_GRID_TOPIC_KEY": "key",
        **settings,
    }


@pytest.fixture
async def console(redis_url: str, outside: Outside) -> AsyncIterator[httpx.AsyncClient]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "console", "--port", str(port)),
        cwd=ROOT,
        env=console_environment(redis_url, outside),
        stderr=asyncio.subprocess.DEVNULL,
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
        try:
            async with asyncio.timeout(HANG_SECONDS):
                while not await _healthy(client):
                    await asyncio.sleep(0.05)
            yield client
        finally:
            process.terminate()
            assert await asyncio.wait_for(process.wait(), HANG_SECONDS) in {0, -15}


async def _healthy(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
async def breaker(redis_url: str) -> AsyncIterator[CircuitBreaker]:
    """Yield an app instance's breaker, open in generation 1, which publishes no alerts."""
    store = RedisCircuitStore(redis_url, "c", timeout_seconds=STORE_SECONDS)
    async with CircuitBreaker(store, SETTINGS) as made:
        await made.record_failure("a", "boom", Permit(0))
        yield made


async def until(condition: Any) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


def registration(outside: Outside, generation: int = 1, circuit: str = "c") -> dict[str, Any]:
    url = f"{outside.url}/callback?sig=secret"
    return {"circuit": circuit, "generation": generation, "callbackUrl": url}


async def test_approval_calls_the_workflow_back(
    console: httpx.AsyncClient, breaker: CircuitBreaker, outside: Outside
) -> None:
    """A repeated registration or approval does no harm."""
    for _ in range(2):
        answer = await console.post("/api/approvals", json=registration(outside))
        assert (answer.status_code, answer.json()) == (
            202,
            {"circuit": "c", "generation": 1, "status": "waiting"},
        )
    shown = (await console.get("/api/circuits/c")).json()
    assert (shown["state"], shown["generation"], shown["failures"]) == ("open", 1, 1)
    for _ in range(2):
        answer = await console.post("/api/circuits/c/approve", json={"generation": 1, "by": "ann"})
        assert (answer.status_code, answer.json()["state"]) == (200, "half_open")
    await until(lambda: breaker.circuit.state is CircuitState.HALF_OPEN)
    # The console's periodic delivery may make the call, which then comes after the response.
    await until(lambda: outside.callbacks)
    assert outside.callbacks == [
        {"circuit": "c", "generation": 1, "state": "half_open", "by": "ann"}
    ]
    answer = await console.post("/api/approvals", json=registration(outside))
    assert (answer.status_code, answer.json()["status"]) == (200, "passed")
    await until(lambda: len(outside.callbacks) == 2)


async def test_console_delivers_remaining_alerts(
    console: httpx.AsyncClient, breaker: CircuitBreaker, outside: Outside
) -> None:
    """The stopped function app has left an alert, which the console publishes."""
    await until(lambda: [event["id"] for event in outside.events] == ["c:1:opened"])


async def test_stale_approval_changes_nothing(
    console: httpx.AsyncClient, breaker: CircuitBreaker, outside: Outside
) -> None:
    """Return 409 with the current state (scenario C7)."""
    await console.post("/api/approvals", json=registration(outside))
    answer = await console.post("/api/circuits/c/approve", json={"generation": 2, "by": "ann"})
    assert answer.status_code == 409
    assert (answer.json()["state"], answer.json()["generation"]) == ("open", 1)
    assert "generation 2" in answer.json()["error"]
    await breaker.isolate("bob")
    answer = await console.post("/api/circuits/c/approve", json={"generation": 2, "by": "ann"})
    assert (answer.status_code, "close the circuit instead" in answer.json()["error"]) == (
        409,
        True,
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"CONSOLE_TOKEN": "short"}, "CONSOLE_TOKEN has 5 characters: it takes at least 16"),
        ({"BREAKER_FAILURE_TRESHOLD": "5"}, "did you mean BREAKER_FAILURE_THRESHOLD"),
    ],
)
async def test_invalid_settings_end_the_process(
    redis_url: str, outside: Outside, settings: dict[str, str], message: str
) -> None:
    """The error names the setting and does not show the token."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "console", "--port", str(free_port())),
        cwd=ROOT,
        env=console_environment(redis_url, outside, **settings),
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(process.communicate(), HANG_SECONDS)
    assert process.returncode == 2
    assert message in err.decode()
    assert TOKEN not in err.decode()
