"""The page's WebSocket client, against a server that breaks its promises."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Sequence
from typing import Any

import pytest
from playwright.async_api import Error, Page, WebSocketRoute, expect

from tests.support.console.site import READY, Operator, Site
from tests.support.patience import HANG_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="session")

A_FRAME_MS, FRAMES = 20, 40
"""Time for the page to draw a message; all frames together are shorter than the stale limit."""

AHEAD_MS = (A_FRAME_MS, 200, 1_000, 3_000)
"""Distances to the time at which the clock stops; each retry on a slow machine uses the next."""

LOG = "#log .line span"

type Shown = re.Pattern[str] | Sequence[str]

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


class Server:
    """Replacement for `/live` in one page; `received` holds the page's messages."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self._sockets: list[WebSocketRoute] = []

    async def connect(self, site: Site) -> Operator:
        """Return an operator whose live page uses this server, with a clock that the test moves.

        With a real clock the page would become stale on a slow machine.
        """
        operator = await site.start_session("Ada", keep="served by a test")
        page = operator.page
        await page.route_web_socket("**/live", self._serve)
        await page.clock.install()
        await page.clock.resume()  # another test may have stopped the page's clock
        await page.goto(site.endpoints.console_url)
        await page.wait_for_selector(READY)
        await stop_clock(page)
        self.lines("1-1")
        await wait_for_text(operator, LOG, ["as of 1-0", "line 1-1"])
        return operator

    def _serve(self, socket: WebSocketRoute) -> None:
        self._sockets.append(socket)

        def receive(text: str | bytes) -> None:
            message = json.loads(text)
            self.received.append(message)
            if message["type"] == "resume" and message["cursor"] is None:
                self.snapshot(f"{len(self._sockets)}-0")

        socket.on_message(receive)

    def snapshot(self, cursor: str) -> None:
        """Send a snapshot whose log has one line, the cursor."""
        data: dict[str, Any] = {"circuit": CIRCUIT, "history": [], "vitals": [], "log": []}
        data["log"].append(line(f"as of {cursor}"))
        self._send({"type": "snapshot", "cursor": cursor, "instance": "one", "data": data})

    def lines(self, *cursors: str) -> None:
        """Send a log line for each cursor."""
        self.items(*((each, "log", line(f"line {each}")) for each in cursors))

    def items(self, *items: tuple[str, str, dict[str, Any]]) -> None:
        """Send messages of the backplane: cursor, kind and data of each."""
        named = [dict(zip(("cursor", "kind", "data"), each, strict=True)) for each in items]
        self._send({"type": "messages", "items": named})

    async def drop(self) -> None:
        """Close the connection."""
        await self._sockets[-1].close()

    async def resumed(self, cursor: str | None, times: int) -> None:
        """Wait for the page's n-th connection and check the cursor that it resumes."""
        async with asyncio.timeout(HANG_SECONDS):
            while len(self.received) < times:
                await asyncio.sleep(0.02)
        assert self.received[-1] == {"type": "resume", "cursor": cursor}

    def _send(self, message: dict[str, Any]) -> None:
        self._sockets[-1].send(json.dumps(message))


async def stop_clock(page: Page) -> None:
    """Stop a page's clock at a time that is still in the future for the page."""
    for ahead_ms in AHEAD_MS:
        moment = await page.evaluate("Date.now()") + ahead_ms
        try:
            return await page.clock.pause_at(moment / 1000)
        except Error as error:
            if "to the past" not in error.message:
                raise
    raise AssertionError(f"the page takes longer than {ahead_ms} ms to stop its clock")


async def wait_for_text(operator: Operator, place: str, text: Shown) -> None:
    """Move the clock by frames until the page shows a text."""
    for _ in range(FRAMES):
        await operator.page.clock.run_for(A_FRAME_MS)
        with contextlib.suppress(AssertionError):
            return await expect(operator.page.locator(place)).to_have_text(text, timeout=1_000)
    raise AssertionError(f"{place} does not show {text}")


def line(text: str) -> dict[str, Any]:
    return {"time": round(time.time() * 1000), "by": "Grace", "kind": "said", "text": text}


@pytest.mark.long
async def test_page_resumes_and_a_snapshot_replaces_everything(site: Site) -> None:
    server = Server()
    ada = await server.connect(site)
    server.lines("1-2", "2-0")
    server.lines("10-0")
    lines = ["as of 1-0", "line 1-1", "line 1-2", "line 2-0", "line 10-0"]
    await wait_for_text(ada, LOG, lines)
    await server.drop()
    await expect(ada.page.locator("#connection")).to_have_text("Disconnected")
    await ada.page.clock.run_for(5_000)
    await server.resumed("10-0", 2)
    server.lines("10-1")
    await wait_for_text(ada, LOG, [*lines, "line 10-1"])
    server.snapshot("20-0")
    await wait_for_text(ada, LOG, ["as of 20-0"])


async def test_message_out_of_order_is_not_shown(site: Site) -> None:
    """The page reconnects and requests a snapshot."""
    server = Server()
    ada = await server.connect(site)
    lines = ["as of 1-0", "line 1-1", "line 5-0"]
    server.lines("5-0")
    await wait_for_text(ada, LOG, lines)
    server.lines("4-9")
    await expect(ada.page.locator("#connection")).to_have_text("Disconnected")
    await wait_for_text(ada, LOG, lines)
    await ada.page.clock.run_for(1_000)
    await server.resumed(None, 2)
    await wait_for_text(ada, LOG, ["as of 2-0"])
    ada.complaints.ignore("4-9 came after 5-0")


async def test_silent_connection_becomes_stale_and_reconnects(site: Site) -> None:
    """The page is stale after 6 seconds and disconnected after 12, and then reconnects."""
    server = Server()
    ada = await server.connect(site)
    connection = ada.page.locator("#connection")
    await ada.page.clock.run_for(5_000)
    await expect(connection).to_have_text("Live · one")
    await ada.page.clock.run_for(2_000)
    await expect(connection).to_have_text("Stale")
    await expect(ada.page.locator("#trouble")).to_contain_text("The data shown is from")
    server.lines("1-2")
    await expect(connection).to_have_text("Live · one")
    await expect(ada.page.locator("#trouble")).to_be_empty()
    await ada.page.clock.run_for(11_000)
    await expect(connection).to_have_text("Stale")
    await ada.page.clock.run_for(2_000)
    await expect(connection).to_have_text("Disconnected")
    await ada.page.clock.run_for(1_000)
    await server.resumed("1-2", 2)


async def test_old_figures_are_not_shown_as_current(site: Site) -> None:
    """The console answers, but no instance reads the hub any more."""
    server = Server()
    ada = await server.connect(site)
    now = await ada.page.evaluate("Date.now()")
    row = {"partition": "0", "lag": 70, "owner": "a", "lease_seconds": 9, "last_enqueued": 99}
    vital = {"handled": 5, "per_second": 5.0, "instances": 1, "holding": 0, "signs": "1-1"}
    server.items(
        ("1-2", "partitions", {"time": now, "rows": [row], "problem": None}),
        ("1-3", "vitals", vital | {"time": now, "poison_count": 0, "parked_keys": 0}),
        ("1-4", "tail", {"time": now, "problem": "partition 0: no such consumer group"}),
    )
    await wait_for_text(ada, "#waiting", "70")
    await wait_for_text(ada, "#rate", "5")
    await ada.page.check("#tail-on")
    await wait_for_text(ada, "#tail-note", re.compile("no such consumer group"))
    lines = ["as of 1-0", "line 1-1"]
    for number in range(4):
        await ada.page.clock.run_for(4_000)
        server.lines(f"2-{number}")
        lines.append(f"line 2-{number}")
        await wait_for_text(ada, LOG, lines)
    await ada.page.clock.run_for(1_000)
    await expect(ada.page.locator("#waiting")).not_to_have_text(re.compile(r"\d"))
    await expect(ada.page.locator("#waiting-note")).to_contain_text("unknown since")
    await expect(ada.page.locator("#rate")).not_to_have_text(re.compile(r"\d"))
    await expect(ada.page.locator("#partitions-note")).to_contain_text("not read since")
    await expect(ada.page.locator("#connection")).to_have_text("Live · one")
