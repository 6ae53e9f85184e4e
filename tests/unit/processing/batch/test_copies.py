"""Copies that a producer has sent: finished with their event, and never before it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from processing.errors import (
    DependencyUnavailableError,
    PoisonEventError,
    StorageUnavailableError,
)
from processing.event import Event
from processing.handlers.loading import load_handler
from processing.identity import Source
from processing.progress.memory import MemoryProgressStore
from processing.progress.store import Mark
from tests.support.processing.events import IDENTITY, SOURCE, batch, event
from tests.support.processing.processor_rig import Rig, open_rig

DEDUPE: dict[str, Any] = {"dedupe_property": "id", "dedupe_seconds": 60.0, "hold_seconds": 0.0}


def sent(number: int, value: str, key: str | None = "k", **values: Any) -> Event:
    return event(number, key, properties={"id": value}, **values)


async def outcomes(rig: Rig, *events: Event) -> dict[str, int]:
    """Process a batch, and return the outcomes that are not 0."""
    result = await rig.processor.process(batch(events))
    return {name: count for name, count in result.outcomes.items() if count}


async def test_copy_in_the_same_batch_is_finished_without_a_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The progress passes the copy, and the log counts it."""
    with caplog.at_level(logging.INFO):
        async with open_rig(settings=DEDUPE) as rig:
            events = [sent(0, "a"), sent(1, "b"), sent(2, "a"), sent(3, "a")]
            assert await outcomes(rig, *events) == {"handled": 2, "duplicates": 2}
            assert rig.handled == [0, 1]
            assert (await rig.progress.load(SOURCE)).watermark == Mark(3, events[3].enqueued_ms)
    assert "2 of 4 events are copies of earlier events by their property id" in caplog.text


async def test_copy_in_a_later_batch_is_finished_without_a_call() -> None:
    """The redelivery of a copy is skipped as that of any finished event."""
    async with open_rig(settings=DEDUPE) as rig:
        await outcomes(rig, sent(0, "a"))
        later = [sent(1, "a"), sent(2, "b")]
        assert await outcomes(rig, *later) == {"handled": 1, "duplicates": 1}
        assert await outcomes(rig, *later) == {"skipped": 2}
        assert await outcomes(rig, sent(3, "a")) == {"duplicates": 1}
        assert rig.handled == [0, 2]
        assert (await rig.progress.load(SOURCE)).watermark == Mark(3, event(3).enqueued_ms)


async def test_copy_after_the_window_is_handled() -> None:
    """The window is measured by the hub's clock."""
    async with open_rig(settings=DEDUPE) as rig:
        await outcomes(rig, sent(0, "a", enqueued_ms=1_000))
        assert await outcomes(rig, sent(1, "a", enqueued_ms=61_001)) == {"handled": 1}


async def test_copy_in_another_partition_is_handled() -> None:
    """A mark is written with the progress of its own partition, and with no other."""
    async with open_rig(settings=DEDUPE) as rig:
        await outcomes(rig, sent(0, "a"))
        other = Source(IDENTITY, "1")
        result = await rig.processor.process(batch([sent(1, "a", source=other)], other))
        assert result.handled == 1


async def test_without_the_setting_every_event_is_handled() -> None:
    """The rule is off by default, and asks the store nothing."""

    class Unasked(MemoryProgressStore):
        async def sent(self, source: object, ids: object) -> dict[str, int]:
            raise AssertionError(f"{source} was asked")

    async with open_rig(settings={}, progress=Unasked()) as rig:
        assert await outcomes(rig, sent(0, "a"), sent(1, "a")) == {"handled": 2}
    async with open_rig(settings=DEDUPE, progress=Unasked()) as rig:
        assert await outcomes(rig, event(0), event(1)) == {"handled": 2}


async def test_process_that_dies_before_the_mark_leaves_the_event_and_its_copy() -> None:
    """A second call of the event is possible; a copy of an unhandled event is never skipped."""

    class Dying(MemoryProgressStore):
        dead = True

        async def commit(self, *args: Any) -> bool:
            if self.dead:
                raise StorageUnavailableError("the process is dead")
            return await super().commit(*args)

    store = Dying()
    events = [sent(0, "a"), sent(1, "a")]
    async with open_rig(settings=DEDUPE, progress=store) as rig:
        with pytest.raises(StorageUnavailableError):
            await outcomes(rig, *events)
        assert rig.handled == [0]
    store.dead = False
    async with open_rig(settings=DEDUPE, progress=store) as rig:
        assert await outcomes(rig, *events) == {"handled": 1, "duplicates": 1}
        assert rig.handled == [0]


async def test_copy_waits_for_an_event_that_does_not_finish() -> None:
    """While the event is kept, nothing marks it; a copy in the next batch is found afterwards."""
    down = True

    async def behaviour(each: Event) -> None:
        if down and each.sequence_number == 0:
            raise DependencyUnavailableError("down")

    async with open_rig(behaviour, settings=DEDUPE) as rig:
        events = [sent(0, "a"), sent(1, "a"), sent(2, "b", "other")]
        with pytest.raises(DependencyUnavailableError):
            await outcomes(rig, *events)
        assert rig.handled == [2]
        assert (await rig.progress.load(SOURCE)).watermark is None
        down = False
        assert await outcomes(rig, *events) == {"handled": 1, "duplicates": 1, "skipped": 1}
        assert await outcomes(rig, sent(3, "a")) == {"duplicates": 1}
        assert rig.handled == [2, 0]


@pytest.mark.parametrize("ordering", ["skip", "park"])
async def test_copy_of_a_poisoned_event_is_no_second_poison(ordering: str) -> None:
    """The poison queue has the event; a redrive replays it once."""

    async def behaviour(_event: Event) -> None:
        raise PoisonEventError("never")

    async with open_rig(behaviour, settings=DEDUPE | {"poison_ordering": ordering}) as rig:
        assert await outcomes(rig, sent(0, "a"), sent(1, "a")) == {"poisoned": 1, "duplicates": 1}
        assert await outcomes(rig, sent(2, "a")) == {"duplicates": 1}
        assert rig.poisoned == [0]


async def test_copy_of_a_deferred_event_is_not_in_its_list() -> None:
    """The event waits in its list for a replay, and its copies must not be replayed behind it."""

    async def behaviour(_event: Event) -> None:
        raise DependencyUnavailableError("down")

    settings = DEDUPE | {"deferred_events_max": 100, "defer_after_seconds": 0.0}
    async with open_rig(behaviour, settings=settings | {"hold_seconds": 60.0}) as rig:
        events = [sent(0, "a"), sent(1, "a"), sent(2, "b")]
        assert await outcomes(rig, *events) == {"deferred": 1, "duplicates": 1, "parked": 1}
        assert await outcomes(rig, sent(3, "a"), sent(4, "c")) == {"duplicates": 1, "parked": 1}
        assert len(await rig.store.entries(SOURCE, "k", most=10)) == 3


async def test_copies_without_a_key_do_not_run_beside_their_event() -> None:
    """With `keyless_order=none` each event has a lane of its own."""
    running: list[int] = []
    both = asyncio.Event()

    async def behaviour(each: Event) -> None:
        running.append(each.sequence_number)
        if len(running) == 2:
            both.set()
        await both.wait()

    async with open_rig(behaviour, settings=DEDUPE | {"keyless_order": "none"}) as rig:
        events = [sent(0, "a", None), sent(1, "a", None), sent(2, "b", None)]
        assert await outcomes(rig, *events) == {"handled": 2, "duplicates": 1}
        assert sorted(rig.handled) == [0, 2]


async def test_rewind_handles_the_event_again_and_its_copy_not() -> None:
    """A reset of the progress deletes the marks."""
    async with open_rig(settings=DEDUPE) as rig:
        events = [sent(0, "a"), sent(1, "a")]
        await outcomes(rig, *events)
        await rig.progress.reset(SOURCE)
        assert await outcomes(rig, *events) == {"handled": 1, "duplicates": 1}
        assert rig.handled == [0, 0]


async def test_relaxed_progress_finishes_copies_too() -> None:
    """The batch waits for the commit before it returns."""
    async with open_rig(settings=DEDUPE | {"progress_mode": "relaxed"}) as rig:
        assert await outcomes(rig, sent(0, "a"), sent(1, "a")) == {"handled": 1, "duplicates": 1}
        assert await outcomes(rig, sent(2, "a"), sent(3, "a")) == {"duplicates": 2}
        assert (await rig.progress.load(SOURCE)).watermark == Mark(3, event(3).enqueued_ms)


async def test_copies_do_not_enter_a_list() -> None:
    """The events of a list finish together, each with its copies."""
    lists: list[list[int]] = []

    async def handle(events: list[Event]) -> None:
        lists.append([each.sequence_number for each in events])

    async with open_rig(settings=DEDUPE, loaded=load_handler(handle, {})) as rig:
        keys = ("k", "l", "k", "m", "l")
        events = [sent(number, key, key) for number, key in enumerate(keys)]
        assert await outcomes(rig, *events) == {"handled": 3, "duplicates": 2}
        assert lists == [[0, 1, 3]]
        assert await outcomes(rig, sent(5, "k", "k")) == {"duplicates": 1}
