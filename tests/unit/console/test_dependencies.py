"""The circuits of dependencies in the console: found by name, acted on, delivered and shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    DependencyCircuits,
    DependencySettings,
    ManualClock,
    MemoryCircuitStore,
    MemoryDependencyStore,
    MemoryPublisher,
    Permit,
)
from console.app import create_app
from console.backplane.coordination import MemoryCoordination
from console.backplane.stream import MemoryBackplane
from console.circuit.alert_delivery import deliver_remaining_alerts
from console.circuit.circuits import Circuits
from console.live import circuit_feed
from console.live.dependency_feed import feed_dependencies
from console.live.fanout import Fanout
from console.settings import ConsoleSettings

TOKEN = "a-token-of-32-characters-for-test"
APP = BreakerSettings(name="app", failure_threshold=1)
SETTINGS = {"DEPENDENCY_BANK_RECOVERY": "manual", "BREAKER_NAME": "app"}
CALLBACK = "http://127.0.0.1:9/x"


@dataclass
class Page:
    """An operator's page, with the circuits of its console."""

    client: httpx.AsyncClient
    app: CircuitBreaker
    dependencies: DependencyCircuits
    backplane: MemoryBackplane
    publisher: MemoryPublisher

    async def act(self, path: str, **body: Any) -> httpx.Response:
        return await self.client.post(f"/api/circuits/{path}", json={"by": "ann"} | body)

    async def opened(self, name: str) -> CircuitBreaker:
        """Return the open circuit of a dependency."""
        circuit = await self.dependencies.use(name)
        assert circuit is not None
        await circuit.record_failure("a", "boom", Permit(circuit.circuit.generation))
        assert circuit.circuit.state == "open"
        return circuit

    async def lines(self) -> list[str]:
        """Return the texts of the incident log."""
        return [json.loads(each.data)["text"] for each in await self.backplane.latest(100)]


def dependency_circuits(publisher: MemoryPublisher | None = None) -> DependencyCircuits:
    settings = DependencySettings.from_mapping(SETTINGS, APP)
    return DependencyCircuits(MemoryDependencyStore("app"), settings, publisher=publisher)


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    publisher = MemoryPublisher()
    breaker = CircuitBreaker(MemoryCircuitStore("app"), APP, publisher=publisher)
    dependencies = dependency_circuits(publisher)
    backplane = MemoryBackplane(MemoryCoordination())
    settings = ConsoleSettings(token=TOKEN)
    app = create_app(breaker, settings, dependencies=dependencies, backplane=backplane)
    transport = httpx.ASGITransport(app)
    async with (
        breaker,
        dependencies,
        httpx.AsyncClient(transport=transport, base_url="http://c") as client,
    ):
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield Page(client, breaker, dependencies, backplane, publisher)


@pytest.mark.parametrize("name", ["app%2Fbank", "app%2fbank", "app/bank"])
async def test_operator_decides_about_one_dependency_only(page: Page, name: str) -> None:
    """A proxy may decode the path; the other circuits stay as they are."""
    await page.opened("bank")
    other = await page.opened("mail")
    shown = (await page.client.get(f"/api/circuits/{name}")).json()
    assert (shown["name"], shown["state"], shown["recovery"]) == ("app/bank", "open", "manual")
    approved = await page.act(f"{name}/approve", generation=1)
    assert (approved.status_code, approved.json()["state"]) == (200, "half_open")
    closed = await page.act(f"{name}/close", generation=1)
    assert (closed.status_code, closed.json()["state"]) == (200, "closed")
    isolated = await page.act(f"{name}/isolate", reason="the bank moves", **{"for": "1h"})
    assert (isolated.status_code, isolated.json()["state"]) == (200, "isolated")
    history = (await page.client.get(f"/api/circuits/{name}/history")).json()["history"]
    events = [each["event"] for each in history]
    assert events == ["isolated", "closed", "half_opened", "approved", "opened"]
    assert (page.app.circuit.state, page.app.circuit.generation) == ("closed", 0)
    assert (other.circuit.state, other.circuit.generation) == ("open", 1)
    assert await page.lines() == [
        "approved app/bank generation 1",
        "closed app/bank generation 1",
        "isolated app/bank for 1h: the bank moves",
    ]


async def test_stale_decision_about_a_dependency_changes_nothing(page: Page) -> None:
    """Promise C7 holds for each circuit."""
    circuit = await page.opened("bank")
    answer = await page.act("app%2Fbank/approve", generation=2)
    assert (answer.status_code, answer.json()["generation"]) == (409, 1)
    assert circuit.circuit.state == "open"
    assert "refused" in (await page.lines())[0]


@pytest.mark.parametrize(
    "name", ["app%2Fmail", "other%2Fbank", "bank", "app%2F", "app%2Fbank%2Fbank", "app%2F%00"]
)
async def test_unknown_name_is_refused_and_creates_no_circuit(page: Page, name: str) -> None:
    await page.opened("bank")
    for answer in (
        await page.client.get(f"/api/circuits/{name}"),
        await page.client.get(f"/api/circuits/{name}/history"),
        await page.act(f"{name}/approve", generation=1),
        await page.act(f"{name}/isolate", reason="x"),
    ):
        assert (answer.status_code, "no circuit" in answer.json()["error"]) == (404, True)
    assert set(page.dependencies.circuits) == {"bank"}


@pytest.mark.parametrize("name", ["history", "approve", "close", "isolate"])
async def test_dependency_may_have_the_name_of_an_action(page: Page, name: str) -> None:
    await page.opened(name)
    shown = (await page.client.get(f"/api/circuits/app%2F{name}")).json()
    assert shown["name"] == f"app/{name}"
    assert (await page.act(f"app%2F{name}/approve", generation=1)).status_code == 200
    assert (await page.client.get("/api/circuits/app/history")).json() == {"history": []}


async def test_get_decides_nothing(page: Page) -> None:
    circuit = await page.opened("bank")
    answer = await page.client.get("/api/circuits/app%2Fbank/approve")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (await page.client.post("/api/circuits/app%2Fbank", json={})).status_code == 405
    assert circuit.circuit.state == "open"


def registration(circuit: str, generation: int = 1) -> dict[str, Any]:
    return {
        "circuit": circuit,
        "generation": generation,
        "openedAt": "2026-11-30T03:00:00Z",
        "callbackUrl": CALLBACK,
        "run": "0858",
    }


async def test_request_for_approval_reaches_the_dependency(page: Page) -> None:
    circuit = await page.opened("bank")
    answer = await page.client.post("/api/approvals", json=registration("app/bank"))
    assert answer.status_code == 202
    assert answer.json() == {"circuit": "app/bank", "generation": 1, "status": "waiting"}
    [waiting] = (await circuit.approvals.status()).waiting
    assert (waiting.run, waiting.generation) == ("0858", 1)
    assert (await page.app.approvals.status()).waiting == ()
    ended = {"circuit": "app/bank", "generation": 1, "run": "0858", "ended": True}
    assert (await page.client.post("/api/approvals/steps", json=ended)).status_code == 200
    assert (await circuit.approvals.status()).waiting == ()


async def test_request_for_approval_restores_a_dependency_that_the_store_has_lost(
    page: Page,
) -> None:
    """The alert proves the opening; so an emptied Redis does not end the requests."""
    answer = await page.client.post("/api/approvals", json=registration("app/bank", 4))
    assert answer.json()["status"] == "waiting"
    circuit = await page.dependencies.circuits["bank"].refresh()
    assert (circuit.state, circuit.generation) == ("open", 4)
    assert page.app.circuit.generation == 0


@pytest.mark.parametrize("name", ["other/bank", "app/", "app/a b", "app/" + "x" * 33, "bank"])
async def test_request_for_approval_of_no_dependency_is_refused(page: Page, name: str) -> None:
    answer = await page.client.post("/api/approvals", json=registration(name))
    assert (answer.status_code, "no circuit" in answer.json()["error"]) == (404, True)
    assert page.dependencies.circuits == {}


@pytest.mark.parametrize(("name", "again"), [("bank", True), ("mail", False)])
async def test_only_an_opening_that_waits_for_an_approval_is_announced_again(
    page: Page, name: str, *, again: bool
) -> None:
    """The workflow ends at once for a dependency that recovers by itself, and never registers."""
    await page.opened(name)
    clock = ManualClock()
    rounds = deliver_remaining_alerts(Circuits(page.app, page.dependencies), clock, 5, 0.000_001)
    delivering = asyncio.create_task(rounds)
    try:
        async with asyncio.timeout(10):
            for _ in range(3):
                while not clock.sleeping:
                    await asyncio.sleep(0)
                clock.advance(5)
    finally:
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
    sent = [alert.id for alert in page.publisher.published]
    assert set(sent) == {f"app/{name}:1:opened"}
    assert (len(sent) > 1) is again


async def until(fanout: Fanout, condition: Callable[[str], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition(fanout.snapshot_text):
            await fanout.wake.wait()


async def test_browsers_get_each_change_of_a_dependency(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser that has a version gets what changed after that version only."""
    monkeypatch.setattr(circuit_feed, "SECONDS", 0.002)
    fanout = Fanout(MemoryBackplane(MemoryCoordination()))
    feeding = asyncio.create_task(feed_dependencies(lambda: page.dependencies.circuits, fanout))
    try:
        await page.dependencies.use("mail")
        await until(fanout, lambda text: '"dependency":"mail"' in text)
        await page.opened("bank")
        await until(fanout, lambda text: '"event":"opened"' in text)
        version = fanout.dependencies_version
        await page.act("app%2Fbank/approve", generation=1)
        await until(fanout, lambda text: '"event":"approved"' in text)
        found = json.loads(fanout.dependencies_text(version))
        assert found["names"] == ["bank", "mail"]
        [bank] = found["items"]
        assert (bank["data"]["dependency"], bank["data"]["state"]) == ("bank", "half_open")
        events = [each["event"] for each in bank["history"]]
        assert events == ["half_opened", "approved", "opened"]
        snapshot = json.loads(fanout.snapshot_text)["data"]["dependencies"]
        assert [each["data"]["name"] for each in snapshot] == ["app/bank", "app/mail"]
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
