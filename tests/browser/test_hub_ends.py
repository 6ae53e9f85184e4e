"""The page shows expired events and a recreated hub, from the survey's table to the history."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from playwright.async_api import expect

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from breaker.clock import ManualClock
from processing.identity import Source
from processing.progress.store import Mark
from tests.browser.test_stalls import page_with
from tests.support.console.chromium import EXECUTABLE
from tests.support.console.skipped import NO_CHROMIUM
from tests.support.processing.events import IDENTITY, SOURCE
from tests.support.processing.watch_rig import WatchRig

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(EXECUTABLE is None, reason=NO_CHROMIUM),
]
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


async def table_of_both() -> dict[str, Any]:
    """Return the table of a hub that was recreated for partition 2, and has lost events of 0."""
    rules, clock = BreakerSettings(), ManualClock(time.time())
    store = MemoryCircuitStore(rules.name, now_us=clock.now_us)
    async with CircuitBreaker(store, rules, clock=clock) as breaker:
        rig = WatchRig(breaker, clock)
        rig.hub.first, rig.hub.last = 60, 64
        await rig.progress.commit(SOURCE, 0, Mark(56, 1), [])
        await rig.gaps.record(SOURCE, 2, 51, created_ms=1, handled=())
        await rig.after(5)
        rig.hub.created += timedelta(milliseconds=1)
        await rig.progress.note_created(SOURCE, 2)
        await rig.progress.commit(Source(IDENTITY, "2"), 0, Mark(99, 1), [])
        await rig.after(5)
        table: dict[str, Any] = await rig.table.table()
        return table


@pytest.mark.parametrize("device", [{}, PHONE], ids=["desk", "phone"])
async def test_expired_events_and_a_recreated_hub_are_on_the_page(device: dict[str, Any]) -> None:
    """The history has each of them once, and the banner has the command."""
    async with page_with(await table_of_both(), **device) as (page, _):
        banner = page.locator("#stalls-list li")
        await expect(banner).to_have_count(1)
        await expect(banner).to_contain_text("event 99 is finished, and the hub ends at event 64")
        command = "breakwater rewind --partition 2 --to-start --restart"
        await expect(banner.locator("code")).to_have_text(command)
        states = page.locator("#partitions .state-cell")
        await expect(states).to_have_text(["ok", "ok", "recreated"])
        lags = page.locator("#partitions td:nth-child(3)")
        await expect(lags.first).to_have_attribute("data-expired", "53 expired")
        note = page.locator("#partitions-note")
        await expect(note).to_contain_text("53 events expired unhandled in 24 h; as of ")
        history = page.locator("#history > li")
        await expect(history).to_have_count(2)
        await expect(history.first).to_contain_text("The hub was recreated at ")
        await expect(history.last).to_contain_text(
            "Partition 0: 50 events expired unhandled (2 to 51)"
        )
