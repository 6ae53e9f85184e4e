"""What operators do from the page: on record with who and when, refused when it comes too late."""

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
    """A page of Ann's, and what is behind it."""

    client: httpx.AsyncClient
    store: MemoryCircuitStore
    breaker: CircuitBreaker
    backplane: MemoryBackplane

    async def act(self, path: str, **body: Any) -> httpx.Response:
        return await self.client.post(f"/api/{path}", json=body)

    async def lines(self) -> list[tuple[str, str, str]]:
        """Kind, operator and text of the log's lines."""
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


async def test_approve_then_close(page: Page) -> None:
    """Each once in the log, in Ann's name whatever the body says; a repeat is no news."""
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


async def test_what_comes_too_late_is_refused(page: Page) -> None:
    """With the circuit as it is now; nothing is changed, and who tried it is put down."""
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


async def test_two_operators_at_once(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    """Who came second is told who came first, and is not on record for it."""
    caplog.set_level("INFO")
    await page.open()
    second = CircuitBreaker(page.store, page.breaker.settings)  # has not heard of anything yet
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
    assert "'bob' approve generation 1: that was done before, by 'ann'" in caplog.text


async def test_an_act_whose_fate_is_unknown_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may have been done: who tried it, and what, must not be lost with the answer."""

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
    assert "'ann' isolate: r: not known to be done" in caplog.text


async def test_isolating_needs_a_reason(page: Page) -> None:
    """It stays until closed; approving it is refused."""
    for reason in ("", "  ", None, 5, "x" * 201):
        assert (await page.act("circuits/c/isolate", reason=reason)).status_code == 400
    answer = await page.act("circuits/c/isolate", reason="the sink is being moved")
    assert (answer.json()["state"], answer.json()["by"]) == ("isolated", "ann")
    refused = await page.act("circuits/c/approve", generation=1)
    assert refused.status_code == 409
    assert (await page.lines())[0] == ("isolated", "ann", "isolated: the sink is being moved")


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
async def test_lines_of_the_log(page: Page, text: object, kept: str | None) -> None:
    """Text of several lines, bounded; nothing that a terminal or a reader would be fooled by."""
    answer = await page.act("log", text=text)
    if kept is None:
        assert (answer.status_code, "text " in answer.json()["error"]) == (400, True)
        return
    assert answer.status_code == 201
    assert await page.lines() == [("said", "ann", kept)]


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1001", "1e3", "²", "9" * 30])
async def test_limits_are_numbers(page: Page, limit: str) -> None:
    """Between one and what is worth sending."""
    for path in ("circuits/c/history", "poison"):
        answer = await page.client.get(f"/api/{path}", params={"limit": limit})
        assert (answer.status_code, "limit" in answer.json()["error"]) == (400, True)


async def test_without_the_apps_settings_the_circuit_works_all_the_same(page: Page) -> None:
    """What needs them says which one is missing."""
    for path in ("poison", "parked"):
        answer = await page.client.get(f"/api/{path}")
        assert (answer.status_code, "is missing" in answer.json()["error"]) == (503, True)
    assert (await page.client.get("/api/circuits/c")).status_code == 200


class Away(MemoryBackplane):
    async def publish(self, *_: Any, **__: Any) -> list[str]:
        from console.errors import BackplaneError

        raise BackplaneError("away")


async def test_an_act_that_is_done_is_not_undone_by_a_lost_line() -> None:
    """The circuit's own history has it."""
    breaker = CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))
    app = create_app(breaker, ConsoleSettings(token=TOKEN), backplane=Away(MemoryCoordination()))
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


async def test_browsers_see_changes_at_once_with_their_history() -> None:
    """Pushed, not polled; what only passes with time is no change."""
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
