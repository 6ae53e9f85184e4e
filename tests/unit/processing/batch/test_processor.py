"""Order, concurrency and redelivery of events in BatchProcessor."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from processing.errors import (
    DependencyUnavailableError,
    OwnershipLostError,
)
from processing.event import Event
from processing.progress.store import Mark
from tests.support.processing.events import SOURCE, batch, event
from tests.support.processing.processor_rig import in_order, keyed, open_rig


async def test_all_events_of_a_batch_are_handled_once() -> None:
    """The watermark is the last event afterwards."""
    async with open_rig() as rig:
        result = await rig.processor.process(batch(keyed("a", "b", "a", None)))
        assert sorted(rig.handled) == [0, 1, 2, 3]
        assert (result.handled, result.poisoned, result.skipped) == (4, 0, 0)
        assert (await rig.progress.load(SOURCE)).watermark == Mark(3, event(3).enqueued_ms)


async def test_redelivered_events_that_finished_are_skipped() -> None:
    """The other events of the batch are handled."""
    async with open_rig() as rig:
        events = keyed("a", "b", "a", "b")
        await rig.progress.commit(SOURCE, 0, None, [Mark(2, events[2].enqueued_ms)])
        result = await rig.processor.process(batch(events))
        assert sorted(rig.handled) == [0, 1, 3]
        assert result.skipped == 1
        again = await rig.processor.process(batch(events))
        assert (again.handled, again.skipped) == (0, 4)


async def test_event_that_is_twice_in_a_batch_is_handled_once() -> None:
    """A client may repeat events after it has lost its connection."""
    async with open_rig() as rig:
        events = [*keyed("a", "b", "a"), *keyed("a", "b", "a", "a")]
        result = await rig.processor.process(batch(events))
        assert (result.handled, result.skipped) == (4, 3)
        assert sorted(rig.handled) == [0, 1, 2, 3]
        assert in_order(events, rig.handled)
        assert (await rig.progress.load(SOURCE)).watermark == Mark(3, event(3).enqueued_ms)


async def test_batch_out_of_order_is_handled_in_order() -> None:
    """The watermark passes no unfinished event, in whatever order a client delivers."""

    async def down(each: Event) -> None:
        if each.sequence_number == 6:
            raise DependencyUnavailableError("down")

    async with open_rig(down, settings={"hold_seconds": 0.0}) as rig:
        events = [event(number, "a") for number in (8, 9, 5, 6, 7)]
        with pytest.raises(DependencyUnavailableError):
            await rig.processor.process(batch(events))
        assert rig.handled == [5]
        known = await rig.progress.load(SOURCE)
        assert known.finished_among(events) == [event(5, "a")]


async def test_slow_event_delays_only_its_own_key() -> None:
    """The events of the other key are handled before the slow event ends."""
    release = asyncio.Event()

    async def slow(each: Event) -> None:
        if each.sequence_number == 0:
            await release.wait()

    async with open_rig(slow) as rig:
        running = asyncio.create_task(rig.processor.process(batch(keyed("a", "a", "b", "b"))))
        while len(rig.handled) < 2:
            await asyncio.sleep(0)
        assert rig.handled == [2, 3]
        release.set()
        await running
        assert rig.handled == [2, 3, 0, 1]


async def test_at_most_max_lanes_events_are_in_flight() -> None:
    """The batch has ten keys."""
    running = most = 0

    async def count(_each: Event) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    async with open_rig(count, settings={"max_lanes": 3}) as rig:
        await rig.processor.process(batch(keyed(*"abcdefghij")))
        assert most == 3


async def test_rebalance_during_a_batch_keeps_the_order() -> None:
    """The earlier owner finishes its event in flight and starts no other event.

    The new owner continues behind that event.
    """
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(each: Event) -> None:
        if each.sequence_number == 1 and not started.is_set():
            started.set()
            await release.wait()

    async with open_rig(slow) as rig:
        events = keyed(*"aaaa")
        earlier = asyncio.create_task(rig.processor.process(batch(events)))
        await started.wait()
        later = (await rig.store.claim(SOURCE)).progress  # as the new owner's batch does
        assert later.watermark == Mark(0, event(0).enqueued_ms)
        release.set()
        with pytest.raises(OwnershipLostError):
            await earlier
        assert rig.handled == [0, 1]
        await rig.processor.process(batch(events))
        assert rig.handled == [0, 1, 2, 3]


class Properties(dict[str, object]):
    """Properties that can have a weak reference."""


async def test_ended_batch_is_freed_without_the_garbage_collector() -> None:
    """The collector counts objects and not bytes, and the events' bodies may be large."""
    properties = Properties()
    reference = weakref.ref(properties)
    async with open_rig() as rig:
        gc.disable()
        try:
            await rig.processor.process(batch([event(0, "a", properties=properties)]))
            del properties
            await asyncio.sleep(0)
            assert reference() is None
        finally:
            gc.enable()
