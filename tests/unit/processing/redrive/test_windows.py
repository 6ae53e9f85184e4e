"""Redrives of queues that are larger than the window of held messages."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from processing.event import Event
from processing.identity import Identity, Source
from processing.poison.index.entry import IndexEntry
from processing.poison.index.memory import MemoryPoisonIndex
from processing.poison.memory import MemoryPoisonQueue, MemoryPoisonReader
from processing.poison.queue import Received, Refusal
from processing.redrive import held_messages
from processing.redrive.redrive import Redrive
from processing.redrive.run_store import MemoryRunStore, RunningRedrive
from processing.redrive.runs import RedriveRuns
from processing.redrive.selection import Selection
from tests.support.processing.events import IDENTITY, SOURCE, event
from tests.support.processing.index_entries import compared_with
from tests.unit.processing.redrive.lists import Lists

WINDOW = 64
OTHER = Identity("ns.example.net", "events", "other")


class WatchedReader(MemoryPoisonReader):
    """A reader that counts its calls and the messages that are held.

    Attributes:
        receives, renewals: number of calls.
        most: greatest number of messages that were held at the same time.
        expires_every: after so many calls of `receive` all holds expire; 0: never.
    """

    def __init__(self, queue: MemoryPoisonQueue) -> None:
        super().__init__(queue)
        self.receives = self.renewals = self.most = self.expires_every = 0

    async def receive(self) -> list[Received]:
        self.receives += 1
        if self.expires_every and self.receives % self.expires_every == 0:
            self.expire_holds()
        found = await super().receive()
        self.most = max(self.most, len(self._queue.holds))
        return found

    async def renew(self, held: Any) -> None:
        self.renewals += 1
        await super().renew(held)


class Site(Lists):
    """Lists, and a poison queue with an index."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = self.watched = WatchedReader(self.queue)
        self.index = MemoryPoisonIndex(IDENTITY)

    async def fill(self, *events: Event, unknown: Collection[int] = ()) -> None:
        """Put events into the queue, and all but some of them into the index."""
        for each in events:
            await self.poison(each)
        entries = [self.entry(each) for each in self.numbers if each not in unknown]
        await self.index.put(entries)
        token = await self.index.begin()
        assert token is not None
        await self.index.put(entries)
        await self.index.end(token, of_others={})

    @property
    def numbers(self) -> list[int]:
        return [message.sequence_number for message in self.queue.messages]

    def entry(self, number: int) -> IndexEntry:
        """Return the entry of the first message of an event."""
        found = next(each for each in self.queue.messages if each.sequence_number == number)
        return self.queue.entry_of(found)

    def paged(self, **options: Any) -> Redrive:
        """Return a redrive with the index."""
        parts: dict[str, Any] = {"index": self.index, "window": WINDOW, "reader": self.reader}
        return self.redrive(**(parts | options))

    async def indexed(self) -> list[int]:
        """Return the sequence numbers in the index."""
        page = await self.index.page(most=100_000)
        return sorted(entry.message.sequence_number for entry in page.entries)


def shuffled(count: int, keys: int) -> list[Event]:
    """Return events of several keys in any order."""
    events = [event(number, f"key-{number % keys}") for number in range(count)]
    random.Random(5).shuffle(events)  # noqa: S311 - no secret
    return events


def of_key(handled: list[int], keys: int, number: int) -> list[int]:
    return [each for each in handled if each % keys == number]


async def test_large_queue_is_replayed_in_windows_with_each_key_in_order() -> None:
    """The queue's order is not the events' order; the index knows what the window lacks."""
    site = Site()
    await site.fill(*shuffled(200, 7))
    shown: list[tuple[int, int]] = []
    summary = await site.paged().run(progress=lambda *at: shown.append(at))
    for number in range(7):
        assert of_key(site.handled, 7, number) == list(range(number, 200, 7))
    assert (summary.replayed, summary.left, summary.complete) == (200, 0, True)
    assert (site.queue.messages, await site.indexed()) == ([], [])
    assert shown[0][1] == shown[-1][1] == shown[-1][0] == 200


async def test_window_bounds_the_held_messages() -> None:
    """Each key has one message, so nothing must be taken through the index."""
    site = Site()
    await site.fill(*shuffled(150, 150))
    summary = await site.paged().run()
    assert (summary.replayed, len(site.handled)) == (150, 150)
    assert site.watched.most <= WINDOW
    assert site.watched.renewals == 0


async def test_events_without_a_key_are_replayed_in_order() -> None:
    """The index may have more of them than the window."""
    site = Site()
    events = [event(number, None) for number in range(200)]
    random.Random(3).shuffle(events)  # noqa: S311 - no secret
    await site.fill(*events)
    assert (await site.paged().run()).replayed == 200
    assert site.handled == list(range(200))


async def test_failed_message_is_tried_once_in_a_run() -> None:
    """It is put back, and the next redrive of its key takes it through the index."""
    site = Site()
    await site.fill(*shuffled(140, 140))
    site.bad = set(range(0, 140, 2))
    tried: list[int] = []

    async def note(each: Event) -> None:
        tried.append(each.sequence_number)

    site.before = note
    summary = await site.paged().run()
    assert (summary.replayed, len(summary.failed), summary.left) == (70, 70, 0)
    assert sorted(tried) == list(range(140))
    assert {message.redrives for message in site.queue.messages} == {1}
    assert await site.indexed() == sorted(site.numbers) == list(range(0, 140, 2))
    site.bad.clear()
    site.watched.receives = 0
    assert (await site.paged().run(Selection(key="key-4"))).replayed == 1
    assert site.watched.receives == 0


async def test_all_messages_can_fail() -> None:
    """Holds that expire during the run bring the same messages back; the run still ends."""
    site = Site()
    await site.fill(*shuffled(130, 130))
    site.bad = set(range(130))
    site.watched.expires_every = 3
    summary = await asyncio.wait_for(site.paged().run(), 30)
    assert (len(summary.failed), len(site.numbers)) == (130, 130)
    assert {message.redrives for message in site.queue.messages} == {1}


@pytest.mark.parametrize("indexed", [True, False])
async def test_reading_ends_although_holds_expire_meanwhile(*, indexed: bool) -> None:
    """A message that comes back is the one that was read before."""
    site = Site()
    await site.fill(*shuffled(130, 130))
    site.watched.expires_every = 2
    options = {} if indexed else {"index": None}
    summary = await asyncio.wait_for(site.paged(**options).run(), 30)
    assert (summary.replayed, sorted(site.handled)) == (130, list(range(130)))


async def test_message_that_somebody_else_holds_is_said() -> None:
    """The summary is not complete, and the message stays."""
    site = Site()
    await site.fill(*shuffled(100, 100))
    taken = await MemoryPoisonReader(site.queue).take(site.entry(7))
    assert isinstance(taken, Received)
    summary = await site.paged().run()
    assert (summary.replayed, summary.held_elsewhere, summary.left) == (99, 1, 0)
    assert not summary.complete
    assert (site.numbers, await site.indexed()) == ([7], [7])


async def test_key_of_which_somebody_else_holds_an_event_is_left_alone() -> None:
    """A later event of the key must not be replayed first; other keys are replayed."""
    site = Site()
    await site.fill(*shuffled(100, 10))
    await MemoryPoisonReader(site.queue).take(site.entry(23))
    summary = await site.paged().run()
    assert of_key(site.handled, 10, 3) == []
    assert (summary.busy, summary.held_elsewhere) == (1, 1)
    assert len(site.handled) == 90
    assert sorted(site.numbers) == list(range(3, 100, 10))


async def test_entry_whose_message_is_gone_leaves_the_index() -> None:
    """Another program removed the message."""
    site = Site()
    await site.fill(*shuffled(100, 100))
    removed = next(each for each in site.queue.messages if each.sequence_number == 4)
    site.queue.messages = [each for each in site.queue.messages if each is not removed]
    compare = compared_with(site.queue, site.index).ensure
    summary = await site.paged(compare=compare).run()
    assert (summary.replayed, summary.held_elsewhere, summary.complete) == (99, 0, True)
    assert await site.indexed() == []


async def test_message_that_is_put_during_the_run_is_replayed() -> None:
    """The index names it after the reading."""
    site = Site()
    await site.fill(*shuffled(100, 100))

    last = site.numbers[-1]

    async def put(each: Event) -> None:
        if each.sequence_number == last:
            await site.poison(event(500, "late"))
            await site.index.put([site.entry(500)])

    site.before = put
    assert (await site.paged().run()).replayed == 101
    assert 500 in site.handled


async def test_copies_in_different_windows_are_replayed_once() -> None:
    """A crash can send an event to the queue twice."""
    site = Site()
    events = shuffled(150, 150)
    await site.fill(*events, events[0])
    await site.index.put([site.queue.entry_of(site.queue.messages[-1])])
    summary = await site.paged().run()
    assert (summary.replayed, summary.left, len(site.handled)) == (150, 0, 150)
    assert site.queue.messages == []


async def test_list_waits_for_the_later_messages_of_its_key() -> None:
    """Messages that are in no list come first, as in a small queue."""
    site = Site()
    await site.park(event(0, "a"), event(1, "a"))
    loose = [event(number, "a") for number in range(100, 103)]
    others = [event(number, f"other-{number}") for number in range(200, 300)]
    await site.fill(*loose, *others)
    site.queue.messages.reverse()
    first = site.queue.messages.pop()  # the parked message is received first
    site.queue.messages.insert(0, first)
    summary = await site.paged().run()
    assert [each for each in site.handled if each < 200] == [100, 101, 102, 0, 1]
    assert (summary.left, summary.released, summary.complete) == (0, 1, True)
    assert site.queue.messages == []


async def test_key_is_redriven_through_the_index_without_receiving() -> None:
    site = Site()
    await site.fill(*shuffled(200, 10))
    for selection in (Selection(key="key-3"), Selection(id=site.entry(4).message.id)):
        await site.paged().run(selection)
    assert site.handled == [*range(3, 200, 10), 4]
    assert site.watched.receives == 0
    assert len(await site.indexed()) == 179


async def test_key_with_more_messages_than_the_window_is_redriven_page_by_page() -> None:
    site = Site()
    await site.fill(*shuffled(150, 2))
    summary = await site.paged().run(Selection(key="key-1"))
    assert site.handled == list(range(1, 150, 2))
    assert (summary.replayed, summary.left, summary.complete) == (75, 0, True)
    assert site.watched.receives == 0


async def test_message_that_is_too_long_for_the_index_is_received(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    site = Site()
    await site.fill(*shuffled(100, 10), unknown=[5])
    await site.index.put([site.entry(5).shortened()])
    assert (await site.paged().run(Selection(key="key-5"))).replayed == 10
    assert site.handled == list(range(5, 100, 10))
    assert "1 are too long for the index" in caplog.text


async def test_key_waits_for_an_event_that_is_too_long_for_the_index() -> None:
    """It must be received, which happens in a later window."""
    site = Site()
    others = [event(number, f"other-{number}") for number in range(100, 220)]
    await site.fill(event(1, "a"), *others, event(0, "a"))
    await site.index.put([site.entry(0).shortened()])
    summary = await site.paged().run()
    assert [each for each in site.handled if each < 100] == [0, 1]
    assert (summary.replayed, summary.busy) == (122, 0)


async def test_key_is_left_alone_if_the_event_that_it_waits_for_is_not_received() -> None:
    """Somebody else holds it, and the index does not know what it contains."""
    site = Site()
    others = [event(number, f"other-{number}") for number in range(100, 220)]
    await site.fill(event(1, "a"), *others, event(0, "a"))
    await MemoryPoisonReader(site.queue).take(site.entry(0))
    await site.index.put([site.entry(0).shortened()])
    summary = await site.paged().run()
    assert (summary.replayed, summary.busy, summary.held_elsewhere) == (120, 1, 1)
    assert (sorted(site.numbers), len(site.queue.holds)) == ([0, 1], 1)


async def test_index_that_lacks_messages_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """A key's order could not be kept."""
    site = Site()
    await site.fill(*shuffled(150, 3), unknown=[0, 1, 2])
    assert (await site.paged().run()).replayed == 150
    for number in range(3):
        assert of_key(site.handled, 3, number) == list(range(number, 150, 3))
    assert "does not match it: the queue has about 150 messages, the index has 147" in caplog.text


async def test_stop_ends_the_reading_and_puts_messages_back() -> None:
    site = Site()
    await site.fill(*shuffled(200, 200))
    redrive = site.paged()

    class Stopping(WatchedReader):
        async def receive(self) -> list[Received]:
            redrive.stop()
            return await super().receive()

    reader = Stopping(site.queue)
    redrive = site.paged(reader=reader)
    summary = await redrive.run()
    assert (summary.stopped, summary.replayed, summary.left) == ("interrupted", 0, 200)
    assert reader.receives == 1
    assert site.queue.holds == {}
    assert isinstance(await site.reader.take(site.entry(0)), Received)


async def test_stop_does_not_wait_until_all_messages_are_put_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are visible again when their holds expire."""
    monkeypatch.setattr(held_messages, "RETURN_SECONDS", 0.0)
    site = Site()
    await site.fill(*shuffled(100, 100))
    redrive = site.paged(most_keys=1)

    async def stop(_each: Event) -> None:
        redrive.stop()

    site.before = stop
    assert (await redrive.run()).replayed == 1
    assert len(site.queue.holds) == WINDOW - 1
    assert f"{WINDOW - 1} poison messages are not put back" in caplog.text


async def test_messages_that_were_put_back_can_be_taken_through_the_index() -> None:
    """An interrupted redrive writes their new receipts."""
    site = Site()
    await site.fill(*shuffled(200, 200))
    redrive = site.paged(most_keys=1)

    async def stop(_each: Event) -> None:
        redrive.stop()

    site.before = stop
    assert (await redrive.run()).replayed == 1
    site.before = None
    page = await site.index.page(most=1_000)
    assert len(page.entries) == 199
    found = [await site.reader.take(entry) for entry in page.entries]
    assert Refusal.HELD not in found


async def test_key_beside_a_redrive_of_all_does_not_receive_its_messages() -> None:
    """The other redrive holds them, or will receive them."""
    site = Site()
    await site.fill(*shuffled(100, 10))
    await MemoryPoisonReader(site.queue).take(site.entry(13))
    runs = RedriveRuns(MemoryRunStore())
    async with runs.entered(RunningRedrive("anna")):
        summary = await site.paged(runs=runs).run(Selection(key="key-3"))
    assert (site.handled, summary.held_elsewhere, summary.busy) == ([], 1, 1)
    assert site.watched.receives == 0


async def test_plan_of_a_large_queue_holds_no_message() -> None:
    site = Site()
    await site.fill(*shuffled(200, 10))
    plan = await site.paged().plan(Selection(key="key-3"))
    assert [message.sequence_number for message in plan.messages] == list(range(3, 200, 10))
    assert (plan.events, site.watched.receives, site.queue.holds) == (20, 0, {})


async def test_holds_of_events_in_flight_are_renewed_after_a_stop() -> None:
    """The others are about to be put back."""
    site = Site()
    await site.fill(*(event(number, f"key-{number}") for number in range(3)))
    renewed: set[str] = set()
    in_time = asyncio.Event()

    class Renewing(WatchedReader):
        hold_seconds = 0.3

        async def renew(self, held: Any) -> None:
            await super().renew(held)
            if redrive_stopped:
                renewed.add(held.name)
                in_time.set()

    site.reader = site.watched = Renewing(site.queue)
    redrive = site.paged(most_keys=1)
    redrive_stopped = False

    async def stop(_each: Event) -> None:
        nonlocal redrive_stopped
        redrive.stop()
        redrive_stopped = True
        await asyncio.wait_for(in_time.wait(), 10)

    site.before = stop
    names = {each.sequence_number: site.queue.name_of(each) for each in site.queue.messages}
    assert (await redrive.run()).replayed == 1
    assert renewed == {names[number] for number in site.handled}


async def test_other_apps_messages_are_hidden_only_while_a_window_is_read() -> None:
    """They come back at each reading, and are counted once."""
    site = Site()
    theirs = replace(event(1, "x"), source=Source(OTHER, "0"))
    await site.fill(*(event(number, f"key-{number}") for number in range(100)))
    for number in range(5):
        await site.poison(replace(theirs, sequence_number=number))
    site.queue.messages = site.queue.messages[-5:] + site.queue.messages[:-5]
    token = await site.index.begin()
    assert token is not None
    own = [each for each in site.queue.messages if each.source == SOURCE]
    await site.index.put([site.queue.entry_of(each) for each in own])
    await site.index.end(token, of_others={OTHER.app: 5})
    hidden: set[int] = set()

    async def look(_each: Event) -> None:
        hidden.add(
            sum(
                site.queue.name_of(each) in site.queue.holds
                for each in site.queue.messages
                if each.source.identity == OTHER
            )
        )

    site.before = look
    summary = await site.paged().run()
    assert (summary.replayed, summary.other_apps) == (100, {OTHER.app: 5})
    assert hidden == {0}
    assert summary.complete


async def test_cancelled_plan_does_not_wait_until_all_messages_are_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their holds expire."""
    monkeypatch.setattr(held_messages, "RETURN_SECONDS", 0.1)
    site = Site()
    for number in range(64):
        await site.poison(event(number, "a"))  # not in the index, so the queue is received
    reads = asyncio.Event()

    class Stuck(WatchedReader):
        async def receive(self) -> list[Received]:
            if self.receives:
                reads.set()
                await asyncio.Event().wait()
            return await super().receive()

        async def put_back(self, held: Any) -> None:
            await asyncio.Event().wait()

    plan = asyncio.create_task(site.paged(reader=Stuck(site.queue), window=8).plan(Selection()))
    await asyncio.wait_for(reads.wait(), 10)
    plan.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(plan, 10)
