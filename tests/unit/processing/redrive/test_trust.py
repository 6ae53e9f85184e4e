"""Redrives whose index cannot be trusted yet."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from processing.poison import comparison
from processing.poison.comparison import Comparison
from processing.poison.index.entry import IndexEntry
from processing.poison.memory import MemoryPoisonReader
from processing.redrive.selection import Selection
from tests.support.processing.events import event
from tests.support.processing.index_entries import compared_with
from tests.unit.processing.redrive.test_windows import Site


async def compared_elsewhere(site: Site) -> tuple[str, MemoryPoisonReader, list[IndexEntry]]:
    """Begin a comparison in another process, which now holds all messages."""
    reader = MemoryPoisonReader(site.queue)
    token = await site.index.begin()
    assert token is not None
    held = []
    while page := await reader.receive():
        held += [IndexEntry(each.name, each.receipt, each.message) for each in page]
    await site.index.put(held, token=token)
    return token, reader, held


async def said(caplog: pytest.LogCaptureFixture, redriving: asyncio.Task[Any]) -> None:
    """Return when the redrive says that it waits."""
    async with asyncio.timeout(2):
        while "waits" not in caplog.text and not redriving.done():
            await asyncio.sleep(0.01)


def comparison_of(site: Site) -> Comparison:
    return compared_with(site.queue, site.index)


@pytest.mark.parametrize("count", [40, 200])
@pytest.mark.parametrize("selection", [Selection(), Selection(key="key-1")])
async def test_redrive_waits_for_a_comparison(
    count: int,
    selection: Selection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The comparison holds all messages, so nothing can be received before it ends."""
    monkeypatch.setattr(comparison, "WAIT_SECONDS", 0.01)
    site = Site()
    await site.fill(*[event(number, f"key-{number % 4}") for number in range(count)])
    token, _, _ = await compared_elsewhere(site)
    redriving = asyncio.create_task(site.paged(compare=comparison_of(site).ensure).run(selection))
    await said(caplog, redriving)
    assert site.handled == []
    assert "a comparison of the poison queue with its index is running" in caplog.text
    await site.index.end(token, of_others={})
    summary = await redriving
    expected = count if selection.key is None else count // 4
    assert (summary.replayed, summary.complete) == (expected, True)


async def test_stop_ends_the_wait_for_a_comparison(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    await site.fill(*[event(number, "a") for number in range(100)])
    await compared_elsewhere(site)
    redrive = site.paged(compare=comparison_of(site).ensure)
    redriving = asyncio.create_task(redrive.run())
    await said(caplog, redriving)
    redrive.stop()
    summary = await redriving
    assert (summary.stopped, summary.replayed) == ("interrupted", 0)


@pytest.mark.parametrize("indexed", [True, False])
async def test_held_messages_of_a_queue_that_is_received_are_said(*, indexed: bool) -> None:
    """The redrive is not complete, although it has replayed all that it received."""
    site = Site()
    await site.fill(*[event(number, f"key-{number}") for number in range(100)])
    await MemoryPoisonReader(site.queue).take(site.entry(7))
    await site.index.remove([site.entry(7).name])
    options = {} if indexed else {"index": None}
    summary = await site.paged(**options).run()
    assert (summary.replayed, summary.held_elsewhere, summary.complete) == (99, 1, False)


async def test_surplus_entries_do_not_hide_missing_ones(caplog: pytest.LogCaptureFixture) -> None:
    """The index has more entries than the queue has messages, and still lacks two of a key."""
    caplog.set_level(logging.WARNING)
    site = Site()
    await site.fill(*[event(number, f"key-{number % 5}") for number in range(100)])
    del site.queue.messages[:10]  # Redis was away: the index does not know it
    for number in (200, 201):
        await site.poison(event(number, "late"))
    plan = await site.paged(compare=comparison_of(site).ensure).plan(Selection(key="late"))
    assert plan.events == 2
    assert await site.indexed() == [*range(10, 100), 200, 201]
    summary = await site.paged().run(Selection(key="late"))
    assert (summary.replayed, site.handled) == (2, [200, 201])
