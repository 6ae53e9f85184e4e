"""BatchProcessor: every event once, in order per key, side by side between keys."""

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
from tests.support.processing.processor_rig import in_order, keyed, parts


async def test_healthy_batch() -> None:
    """All events are handled once, and progress says so."""
    async with parts() as made:
        result = await made.processor.process(batch(keyed("a", "b", "a", None)))
        assert sorted(made.handled) == [0, 1, 2, 3]
        assert (result.handled, result.poisoned, result.skipped) == (4, 0, 0)
        assert (await made.progress.load(SOURCE)).watermark == Mark(3, event(3).enqueued_ms)


async def test_redelivered_events_are_skipped() -> None:
    """An event that finished is not handled again, and the others are."""
    async with parts() as made:
        events = keyed("a", "b", "a", "b")
        await made.progress.commit(SOURCE, 0, None, [Mark(2, events[2].enqueued_ms)])
        result = await made.processor.process(batch(events))
        assert sorted(made.handled) == [0, 1, 3]
        assert result.skipped == 1
        again = await made.processor.process(batch(events))
        assert (again.handled, again.skipped) == (0, 4)


async def test_an_event_twice_in_one_batch() -> None:
    """A client that lost its link may repeat events; each is handled once, in its order."""
    async with parts() as made:
        events = [*keyed("a", "b", "a"), *keyed("a", "b", "a", "a")]
        result = await made.processor.process(batch(events))
        assert (result.handled, result.skipped) == (4, 3)
        assert sorted(made.handled) == [0, 1, 2, 3]
        assert in_order(events, made.handled)
        assert (await made.progress.load(SOURCE)).watermark == Mark(3, event(3).enqueued_ms)


async def test_a_batch_out_of_order() -> None:
    """Whatever a client did when it lost its link, a key's earlier event comes first, and the
    watermark passes nothing that is not finished.
    """

    async def down(each: Event) -> None:
        if each.sequence_number == 6:
            raise DependencyUnavailableError("down")

    async with parts(down, settings={"hold_seconds": 0.0}) as made:
        events = [event(number, "a") for number in (8, 9, 5, 6, 7)]
        with pytest.raises(DependencyUnavailableError):
            await made.processor.process(batch(events))
        assert made.handled == [5]
        known = await made.progress.load(SOURCE)
        assert known.finished_among(events) == [event(5, "a")]


async def test_a_key_waits_for_its_own_events_only() -> None:
    """One slow event delays its key and no other."""
    release = asyncio.Event()

    async def slow(each: Event) -> None:
        if each.sequence_number == 0:
            await release.wait()

    async with parts(slow) as made:
        running = asyncio.create_task(made.processor.process(batch(keyed("a", "a", "b", "b"))))
        while len(made.handled) < 2:
            await asyncio.sleep(0)
        assert made.handled == [2, 3]
        release.set()
        await running
        assert made.handled == [2, 3, 0, 1]


async def test_lanes_are_bounded() -> None:
    """No more than max_lanes events of a batch are in flight."""
    running = most = 0

    async def count(_each: Event) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    async with parts(count, settings={"max_lanes": 3}) as made:
        await made.processor.process(batch(keyed(*"abcdefghij")))
        assert most == 3


async def test_a_rebalance_in_mid_batch() -> None:
    """The earlier owner finishes what it has in flight and starts no other event; the new owner
    goes on behind it, so a key never goes back.
    """
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(each: Event) -> None:
        if each.sequence_number == 1 and not started.is_set():
            started.set()
            await release.wait()

    async with parts(slow) as made:
        events = keyed(*"aaaa")
        earlier = asyncio.create_task(made.processor.process(batch(events)))
        await started.wait()
        later = await made.progress.open(SOURCE)  # as the new owner's batch does
        assert later.watermark == Mark(0, event(0).enqueued_ms)
        release.set()
        with pytest.raises(OwnershipLostError):
            await earlier
        assert made.handled == [0, 1]
        await made.processor.process(batch(events))
        assert made.handled == [0, 1, 2, 3]


class Properties(dict[str, object]):
    """Properties of which one can tell when they are gone."""


async def test_an_ended_batch_is_let_go_at_once() -> None:
    """Its bodies may be large, and the garbage collector counts objects, not bytes."""
    properties = Properties()
    gone = weakref.ref(properties)
    async with parts() as made:
        gc.disable()
        try:
            await made.processor.process(batch([event(0, "a", properties=properties)]))
            del properties
            await asyncio.sleep(0)
            assert gone() is None
        finally:
            gc.enable()
