"""The page names each stalled partition, from the survey's table to the banner."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Page, WebSocketRoute, expect

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from breaker.clock import ManualClock
from processing.errors import DependencyUnavailableError
from processing.identity import Source
from processing.monitoring.reasons import Why
from processing.progress.store import Mark
from tests.support.console.chromium import EXECUTABLE, WATCH, Complaints, chromium
from tests.support.console.server import TOKEN, serving_memory
from tests.support.console.site import READY
from tests.support.console.skipped import NO_CHROMIUM
from tests.support.processing.events import IDENTITY, SOURCE, event
from tests.support.processing.watch_rig import WatchRig

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(EXECUTABLE is None, reason=NO_CHROMIUM),
]
CIRCUIT = {
    "name": "breakwater",
    "state": "closed",
    "generation": 4,
    "failures": 1,
    "failure_threshold": 20,
    "window_seconds": 30,
    "changed_at": 1_700_000_000,
    "opened_at": 1_700_000_000,
    "reason": "",
}


async def stalled_table() -> dict[str, Any]:
    """Return the console's table of an app with a kept event and an event that nobody receives."""
    rules, clock = BreakerSettings(), ManualClock(time.time())
    store = MemoryCircuitStore(rules.name, now_us=clock.now_us)
    async with CircuitBreaker(store, rules, clock=clock) as breaker:
        rig = WatchRig(breaker, clock)
        await rig.progress.commit(Source(IDENTITY, "2"), 0, Mark(6, 1), [])
        rig.watch.began(SOURCE, event(5, None))
        error = DependencyUnavailableError("the bank answers HTTP 503 <b>Service Unavailable</b>")
        rig.watch.waits(SOURCE, event(5, None), Why.KEYLESS, error)
        await rig.after(130)
        table: dict[str, Any] = await rig.table.table()
        return table


@asynccontextmanager
async def page_with(table: dict[str, Any], **device: Any) -> AsyncIterator[tuple[Page, Any]]:
    """Open a console's page whose live messages the test sends."""
    sockets: list[WebSocketRoute] = []
    cursors: list[str] = []
    async with serving_memory() as served, chromium() as browser:
        profile = await browser.new_context(**device)
        await profile.add_init_script(WATCH)
        page = await profile.new_page()
        complaints = Complaints(page)

        def serve(socket: WebSocketRoute) -> None:
            sockets.append(socket)
            data = {"circuit": CIRCUIT, "history": [], "vitals": [], "log": []}
            message = {"type": "snapshot", "cursor": "1-0", "instance": "one", "data": data}
            socket.on_message(lambda _text: socket.send(json.dumps(message)))

        def send(found: dict[str, Any]) -> None:
            cursors.append(f"1-{len(cursors) + 1}")
            item = {"cursor": cursors[-1], "kind": "partitions", "data": found | {"time": _now()}}
            sockets[-1].send(json.dumps({"type": "messages", "items": [item]}))

        await page.route_web_socket("**/live", serve)
        origin = {"Origin": served.url}
        login = {"name": "ann", "token": TOKEN}
        answer = await page.context.request.post(f"{served.url}/login", data=login, headers=origin)
        assert answer.status == 204
        await page.goto(served.url)
        await page.wait_for_selector(READY)
        send(table)
        yield page, send
        complaints.ignore("503")  # this console has no poison queue
        assert complaints.found == []


def _now() -> int:
    return time.time_ns() // 1_000_000


async def test_stalled_partitions_have_a_banner_that_moves_nothing() -> None:
    """The banner has event, time, reason and response as text, and ends with the stall."""
    table = await stalled_table()
    async with page_with(table) as (page, send):
        banner = page.locator("#stalls")
        await expect(banner).to_be_visible()
        await expect(page.locator("#stalls-title")).to_have_text("2 partitions are stalled: 0, 2")
        kept, lost = await page.locator("#stalls-list li").all()
        await expect(kept).to_contain_text("events/0/5, since ")
        await expect(kept).to_contain_text("(2 min ")
        await expect(kept).to_contain_text("HTTP 503 <b>Service Unavailable</b>")
        await expect(kept).to_contain_text("breakwater parked poison-head 0")
        await expect(lost).to_contain_text("events/2/7")
        await expect(lost).to_contain_text("not handed over: 3 events wait")
        states = page.locator("#partitions .state-cell")
        await expect(states).to_have_text(["stalled", "ok", "stalled"])
        assert await page.evaluate("window.shifts") == []
        rows = [row | {"state": "ok"} for row in table["rows"]]
        send(table | {"rows": rows, "stalled": []})
        await expect(banner).to_be_hidden()
        assert await page.evaluate("window.shifts") == []
