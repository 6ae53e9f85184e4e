"""Redrives while the receipts in the index are not the queue's latest ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processing.event import Event
from processing.poison.index.entry import IndexEntry
from processing.poison.index.memory import MemoryPoisonIndex
from processing.poison.memory import MemoryPoisonReader
from processing.poison.queue import Received, Refusal
from processing.redrive import held_messages
from processing.redrive.indexed_reader import IndexedReader
from processing.redrive.selection import Selection
from tests.support.processing.browsing import browse
from tests.support.processing.events import IDENTITY, event
from tests.unit.processing.redrive.test_windows import (
    WINDOW,
    Site,
    WatchedReader,
    of_key,
    shuffled,
)


class ForgettingReader(WatchedReader):
    """A reader of a service that answers "no such message" to a receipt that is not the latest."""

    async def take(self, entry: IndexEntry) -> Received | Refusal:
        assert entry.receipt
        taken = await super().take(entry)
        return Refusal.GONE if taken is Refusal.HELD else taken


class ForgettingSite(Site):
    """A site with such a service."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = self.watched = ForgettingReader(self.queue)


SITES = pytest.mark.parametrize("kind", [Site, ForgettingSite])


async def hold(site: Site, *numbers: int) -> None:
    """Hold messages as a redrive that was killed."""
    for number in numbers:
        assert isinstance(await MemoryPoisonReader(site.queue).take(site.entry(number)), Received)


@SITES
async def test_named_key_with_an_earlier_event_that_is_held_stays(kind: type[Site]) -> None:
    """The queue is received, but it does not show the event; the index knows it."""
    site = kind()
    await site.fill(
        *(event(number, "a") for number in (1, 2, 3)),
        *(event(number, "b") for number in range(4, 90)),
    )
    await hold(site, 1)
    summary = await site.paged().run(Selection(key="a"))
    assert (site.handled, summary.busy, summary.held_elsewhere) == ([], 1, 1)
    assert not summary.complete
    assert 1 in await site.indexed()
    site.reader.expire_holds()
    summary = await site.paged().run(Selection(key="a"))
    assert (site.handled, summary.complete) == ([1, 2, 3], True)


@SITES
async def test_named_key_with_a_later_event_that_is_held_is_not_complete(kind: type[Site]) -> None:
    site = kind()
    await site.fill(*(event(number, "a") for number in (1, 2, 3)))
    await hold(site, 3)
    summary = await site.paged().run(Selection(key="a"))
    assert (site.handled, summary.held_elsewhere, summary.complete) == ([1, 2], 1, False)


@SITES
async def test_event_that_is_held_keeps_its_key_in_a_redrive_of_all(kind: type[Site]) -> None:
    """Also if the service says that there is no such message."""
    site = kind()
    await site.fill(*shuffled(200, 10))
    await hold(site, 23)
    summary = await site.paged().run()
    assert [each for each in of_key(site.handled, 10, 3) if each >= 23] == []
    assert (summary.busy, summary.held_elsewhere) == (1, 1)
    assert sorted(site.numbers) == await site.indexed()
    assert set(range(23, 200, 10)) <= set(site.numbers) <= set(range(3, 200, 10))


@SITES
async def test_event_that_is_held_keeps_its_key_if_the_index_lacks_others(kind: type[Site]) -> None:
    """The index is not trusted, but what it knows is true."""
    site = kind()
    await site.fill(*shuffled(100, 10), unknown=[4, 5])
    await hold(site, 23)
    summary = await site.paged().run()
    assert of_key(site.handled, 10, 3) == []
    assert (summary.busy, summary.held_elsewhere, len(site.handled)) == (1, 1, 90)


async def test_entries_of_messages_that_somebody_removed_do_not_keep_a_key() -> None:
    """All messages of the queue are received, so nobody holds another one."""
    site = Site()
    await site.fill(*(event(number, "a") for number in range(10)))
    del site.queue.messages[:3]
    for selection in (Selection(id=site.entry(5).message.id), Selection(key="a")):
        summary = await site.paged().run(selection)
        assert (summary.complete, summary.held_elsewhere) == (True, 0)
    assert site.handled == [5, 3, 4, 6, 7, 8, 9]


async def test_redrive_of_all_after_a_comparison_that_still_holds_messages_counts_them() -> None:
    """They are not received, but taken through the index."""
    site = Site()
    await site.fill(*(event(number, f"key-{number % 5}") for number in range(30)))
    token = await site.index.begin()
    assert token is not None
    held = await WatchedReader(site.queue).receive()
    await site.index.put([site.queue.entry_of(each.message) for each in held], token=token)
    await site.index.end(token, of_others={})
    shown: list[tuple[int, int]] = []
    redrive = site.paged()

    def progress(done: int, total: int) -> None:
        shown.append((done, total))
        if done == 10:
            redrive.stop()

    summary = await redrive.run(progress=progress)
    assert {total for _, total in shown} == {30}
    assert summary.left == 30 - summary.replayed > 0
    assert (await site.paged().run()).complete


@SITES
async def test_receipts_that_are_all_stale_keep_nothing(kind: type[Site]) -> None:
    """A key waits until the queue is read; then its messages are put back and found."""
    site = kind()
    await site.fill(*shuffled(400, 20))
    await browse(site.watched)
    summary = await site.paged().run()
    for number in range(20):
        assert of_key(site.handled, 20, number) == list(range(number, 400, 20))
    assert (summary.replayed, summary.busy, summary.held_elsewhere) == (400, 0, 0)
    assert summary.complete


async def test_key_with_more_messages_than_the_window_survives_stale_receipts() -> None:
    site = Site()
    await site.fill(*shuffled(150, 2))
    await browse(site.reader)
    summary = await site.paged().run(Selection(key="key-1"))
    assert site.handled == list(range(1, 150, 2))
    assert (summary.replayed, summary.complete) == (75, True)


async def test_interrupted_redrive_notes_the_receipts_of_what_it_does_not_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next redrive takes these messages."""
    monkeypatch.setattr(held_messages, "RETURN_SECONDS", 0.0)
    site = Site()
    await site.fill(*shuffled(100, 100))
    redrive = site.paged(most_keys=1)

    async def stop(_each: Event) -> None:
        redrive.stop()

    site.before = stop
    assert (await redrive.run()).replayed == 1
    assert len(site.queue.holds) == WINDOW - 1
    entries = (await site.index.page(most=1_000)).entries
    assert [each.receipt for each in entries] == [
        site.queue.receipt_of(each.name) for each in entries
    ]


async def test_receipt_of_an_expired_hold_replaces_no_newer_one() -> None:
    site = Site()
    await site.fill(event(3, "a"), event(4, "b"))
    reader = IndexedReader(site.reader, site.index)
    held = await reader.receive()
    site.reader.expire_holds()
    await browse(site.reader)
    await site.index.put([site.entry(3), site.entry(4)])
    for each in held:
        await reader.put_back(each)
    await reader.flush()
    for entry in (await site.index.page()).entries:
        assert entry.receipt == site.queue.receipt_of(entry.name)


async def test_message_whose_receipt_is_unknown_is_received() -> None:
    """A redrive that was cut off had changed the message."""
    site = ForgettingSite()
    await site.fill(*(event(number, "a") for number in range(5)))
    await site.index.put([site.entry(2).with_receipt("")])
    assert (await site.paged().run(Selection(key="a"))).complete
    assert site.handled == list(range(5))


async def test_stale_receipts_beside_expiring_holds() -> None:
    """The redrive ends, and every event is replayed in order."""
    site = Site()
    await site.fill(*shuffled(300, 30))
    await browse(site.reader)
    site.watched.expires_every = 5
    await asyncio.wait_for(site.paged().run(), 30)
    for number in range(30):
        assert of_key(site.handled, 30, number) == sorted(of_key(site.handled, 30, number))
    rest: dict[str, Any] = {}
    site.watched.expires_every = 0
    assert (await site.paged(**rest).run()).complete
    assert sorted(site.handled) == list(range(300))


@pytest.mark.parametrize("events", [40, 100])
async def test_key_whose_messages_are_too_long_for_the_index_is_received(events: int) -> None:
    """Also if the window is smaller than the key."""
    site = Site()
    site.index = MemoryPoisonIndex(IDENTITY, budget_bytes=0)
    await site.fill(*(event(number, "a") for number in range(events)))
    summary = await site.paged().run(Selection(key="a"))
    assert (site.handled, summary.complete) == (list(range(events)), True)


@pytest.mark.parametrize("keys", [1, 40])
async def test_messages_that_are_too_long_for_the_index_are_replayed_in_order(keys: int) -> None:
    """An awaited message may be anywhere in a queue that is larger than the window."""
    site = Site()
    site.index = MemoryPoisonIndex(IDENTITY, budget_bytes=0)
    await site.fill(*shuffled(250, keys))
    summary = await site.paged().run()
    for number in range(keys):
        assert of_key(site.handled, keys, number) == list(range(number, 250, keys))
    assert (summary.replayed, summary.busy, summary.complete) == (250, 0, True)
