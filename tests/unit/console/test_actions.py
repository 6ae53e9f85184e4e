"""Operator actions: recorded with operator and time, and refused when stale."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    MemoryCircuitStore,
    Permit,
    StoreUnavailableError,
)
from console.app import create_app
from console.backplane.coordination import MemoryCoordination
from console.backplane.stream import Document, MemoryBackplane
from console.live.circuit_feed import feed_circuit
from console.live.fanout import Fanout
from console.settings import ConsoleSettings

TOKEN = "a-token-of-32-characters-for-test"


@dataclass
class Page:
    """Ann's page, with the circuit and the backplane of its console."""

    client: httpx.AsyncClient
    store: MemoryCircuitStore
    breaker: CircuitBreaker
    backplane: MemoryBackplane

    async def act(self, path: str, **body: Any) -> httpx.Response:
        return await self.client.post(f"/api/{path}", json=body)

    async def lines(self) -> list[tuple[str, str, str]]:
        """Return kind, operator and text of each log line."""
        found = [json.loads(each.data) for each in await self.backplane.latest(100)]
        return [(line["kind"], line["by"], line["text"]) for line in found]

    async def open(self) -> None:
        await self.breaker.record_failure("a", "boom", Permit(0))


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    settings = BreakerSettings(name="c", failure_threshold=1)
    store = MemoryCircuitStore("c")
    breaker = CircuitBreaker(store, settings)
    backplane = MemoryBackplane(MemoryCoordination())
    app = create_app(breaker, ConsoleSettings(token=TOKEN), backplane=backplane)
    transport = httpx.ASGITransport(app)
    async with breaker, httpx.AsyncClient(transport=transport, base_url="http://c") as client:
        answer = await client.post("/login", json={"token": TOKEN, "name": " ann "})
        assert answer.status_code == 204
        csrf = (await client.get("/api/session")).json()["csrf"]
        client.headers.update({"Origin": "http://c", "X-CSRF-Token": csrf})
        yield Page(client, store, breaker, backplane)


async def test_repeated_approval_and_close_are_logged_once(page: Page) -> None:
    """The log names the session's operator, whatever `by` the body has."""
    await page.open()
    for _ in range(2):
        answer = await page.act("circuits/c/approve", generation=1, by="eve")
        assert (answer.status_code, answer.json()["state"]) == (200, "half_open")
    for _ in range(2):
        answer = await page.act("circuits/c/close", generation=1)
        assert (answer.status_code, answer.json()["state"]) == (200, "closed")
    assert await page.lines() == [
        ("approved", "ann", "approved generation 1"),
        ("closed", "ann", "closed generation 1"),
    ]
    history = (await page.client.get("/api/circuits/c/history")).json()["history"]
    assert [(entry["event"], entry["by"]) for entry in history[:2]] == [
        ("closed", "ann"),
        ("half_opened", "ann"),
    ]
    limited = await page.client.get("/api/circuits/c/history?limit=1")
    assert limited.json()["history"] == history[:1]


async def test_stale_action_changes_nothing_and_is_logged(page: Page) -> None:
    """The 409 response has the current circuit, and the log names the operator."""
    await page.open()
    for act in ("approve", "close"):
        answer = await page.act(f"circuits/c/{act}", generation=7)
        assert answer.status_code == 409
        assert (answer.json()["state"], answer.json()["generation"]) == ("open", 1)
        assert "generation 7" in answer.json()["error"]
    assert await page.lines() == [
        ("refused", "ann", f"{done} generation 7: refused, it is open in generation 1")
        for done in ("approve", "close")
    ]


async def test_second_approval_names_the_first_operator(
    page: Page, caplog: pytest.LogCaptureFixture
) -> None:
    """The second operator is not recorded for the approval."""
    caplog.set_level("INFO")
    await page.open()
    second = CircuitBreaker(page.store, page.breaker.settings)  # has not read the store yet
    app = create_app(second, ConsoleSettings(token=TOKEN), backplane=page.backplane)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://c", headers=headers
    ) as bob:
        assert (await page.act("circuits/c/approve", generation=1)).status_code == 200
        body = {"generation": 1, "by": "bob"}
        answer = await bob.post("/api/circuits/c/approve", json=body)
        assert (answer.status_code, answer.json()["by"]) == (200, "ann")
    await second.aclose()
    assert await page.lines() == [("approved", "ann", "approved generation 1")]
    assert "'bob' approve generation 1: already done by 'ann'" in caplog.text


async def test_action_with_unknown_outcome_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The action may have been done, so the log must name the operator and the action."""

    class Lost(MemoryCircuitStore):
        async def isolate(self, *_: Any) -> Any:
            raise StoreUnavailableError("the answer was lost")

    breaker = CircuitBreaker(Lost("c"), BreakerSettings(name="c"))
    app = create_app(breaker, ConsoleSettings(token=TOKEN))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://c", headers=headers
    ) as client:
        body = {"reason": "r", "by": "ann"}
        answer = await client.post("/api/circuits/c/isolate", json=body)
    await breaker.aclose()
    assert (answer.status_code, "lost" in answer.json()["error"]) == (503, True)
    assert "'ann' isolate: r: the outcome is unknown" in caplog.text


async def test_isolating_needs_a_reason(page: Page) -> None:
    """The circuit stays isolated until closed; an approval is refused."""
    for reason in ("", "  ", None, 5, "x" * 201):
        assert (await page.act("circuits/c/isolate", reason=reason)).status_code == 400
    answer = await page.act("circuits/c/isolate", reason="the sink is being moved")
    assert (answer.json()["state"], answer.json()["by"]) == ("isolated", "ann")
    refused = await page.act("circuits/c/approve", generation=1)
    assert refused.status_code == 409
    assert (await page.lines())[0] == ("isolated", "ann", "isolated: the sink is being moved")


async def test_isolation_with_an_end_is_logged_with_its_length(page: Page) -> None:
    """A new end is another action, and is logged as well; a repeat without an end is not."""
    answer = await page.act("circuits/c/isolate", reason="release", **{"for": "1h30m"})
    circuit = answer.json()
    assert circuit["resume_at"] == pytest.approx(circuit["changed_at"] + 5_400)
    assert (circuit["ends_as"], circuit["mode"]) == ("closed", "enforce")
    answer = await page.act("circuits/c/isolate", reason="longer", **{"for": ""})
    assert (answer.json()["generation"], answer.json()["resume_at"]) == (2, None)
    await page.act("circuits/c/isolate", reason="longer")
    assert await page.lines() == [
        ("isolated", "ann", "isolated for 1h30m: release"),
        ("isolated", "ann", "isolated: longer"),
    ]


@pytest.mark.parametrize("length", ["2", "soon", "-1h", "31d", 7_200, ["2h"], " "])
async def test_length_of_another_form_is_refused(page: Page, length: object) -> None:
    """The error names the field, and nothing is isolated."""
    answer = await page.act("circuits/c/isolate", reason="release", **{"for": length})
    assert (answer.status_code, answer.json()["error"][:3]) == (400, "for")
    assert page.breaker.circuit.generation == 0


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("hello", "hello"),
        (" two\r\nlines\t! ", "two\nlines    !"),
        ("👩‍💻 <b>&amp;</b>", "👩‍💻 <b>&amp;</b>"),
        ("x" * 2_000, "x" * 2_000),
        ("x" * 2_001, None),
        ("", None),
        (" \n ", None),
        (5, None),
        (None, None),
        ("bell \x07", None),
        ("left \u202e right", None),
    ],
)
async def test_log_lines_are_bounded_and_printable(
    page: Page, text: object, kept: str | None
) -> None:
    """A line may span several lines, but has no control or direction characters."""
    answer = await page.act("log", text=text)
    if kept is None:
        assert (answer.status_code, "text " in answer.json()["error"]) == (400, True)
        return
    assert answer.status_code == 201
    assert await page.lines() == [("said", "ann", kept)]


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1001", "1e3", "²", "9" * 30])
async def test_limit_must_be_a_number_in_range(page: Page, limit: str) -> None:
    """The limit is a number from 1 to 1,000."""
    for path in ("circuits/c/history", "poison"):
        answer = await page.client.get(f"/api/{path}", params={"limit": limit})
        assert (answer.status_code, "limit" in answer.json()["error"]) == (400, True)


async def test_circuit_works_without_the_apps_settings(page: Page) -> None:
    """The other routes respond 503 and name the missing setting."""
    for path in ("poison", "parked"):
        answer = await page.client.get(f"/api/{path}")
        assert (answer.status_code, "is missing" in answer.json()["error"]) == (503, True)
    assert (await page.client.get("/api/circuits/c")).status_code == 200


class UnavailableBackplane(MemoryBackplane):
    async def publish(self, *_: Any, **__: Any) -> list[str]:
        from console.errors import BackplaneError

        raise BackplaneError("away")


async def test_action_succeeds_without_its_log_line() -> None:
    """The circuit's history records the action."""
    breaker = CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))
    app = create_app(
        breaker, ConsoleSettings(token=TOKEN), backplane=UnavailableBackplane(MemoryCoordination())
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    transport = httpx.ASGITransport(app)
    async with (
        breaker,
        httpx.AsyncClient(transport=transport, base_url="http://c", headers=headers) as client,
    ):
        body: Document = {"reason": "r", "by": "ann"}
        answer = await client.post("/api/circuits/c/isolate", json=body)
        assert (answer.status_code, answer.json()["state"]) == (200, "isolated")
        answer = await client.post("/api/log", json={"text": "t", "by": "ann"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


async def test_browsers_get_a_change_with_its_history_at_once() -> None:
    """The change is pushed; a refresh without a change shows nothing new."""
    settings = BreakerSettings(name="c", failure_threshold=1)
    breaker = CircuitBreaker(MemoryCircuitStore("c"), settings)
    fanout = Fanout(MemoryBackplane(MemoryCoordination()))
    async with breaker:
        feeding = asyncio.create_task(feed_circuit(breaker, fanout))
        await shown(fanout, '"state":"closed"')
        version = fanout.circuit_version
        await breaker.refresh()
        await asyncio.sleep(0.02)
        assert fanout.circuit_version == version
        await breaker.record_failure("a", "boom", Permit(0))
        await shown(fanout, '"state":"open"')
        await breaker.approve(1, "ann")
        await shown(fanout, '"state":"half_open"')
        found = json.loads(fanout.circuit_text)
        assert [entry["event"] for entry in found["history"]][-1] == "opened"
        assert found["history"][0]["by"] == "ann"
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def shown(fanout: Fanout, what: str) -> None:
    async with asyncio.timeout(10):
        while what not in fanout.circuit:
            await fanout.wake.wait()
