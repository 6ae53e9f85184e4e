"""Lists: calls with the events of many keys, and the search for the event that fails."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import Any

import pytest

from processing.errors import DependencyUnavailableError, PoisonEventError, ShutdownError
from processing.event import Event
from processing.handlers.loading import load_handler
from processing.progress.store import Mark
from tests.support.processing.events import SOURCE, batch, event
from tests.support.processing.list_rig import DEFERS, fails, many, opened
from tests.support.processing.processor_rig import in_order, keyed, open_rig


@pytest.mark.parametrize("keys", [1, 10, 1_000])
async def test_batch_is_one_list_in_the_order_of_the_partition(keys: int) -> None:
    """A list has the events of all keys, also more keys than lanes."""
    async with opened() as (rig, calls):
        result = await rig.processor.process(batch(many(1_000, keys)))
        assert calls == [[*range(1_000)]]
        assert result.handled == 1_000
        assert (await rig.progress.load(SOURCE)).watermark == Mark(999, event(999).enqueued_ms)


async def test_list_has_at_most_the_events_of_the_setting() -> None:
    """The oldest events come first."""
    async with opened(batch_handler_events=4) as (rig, calls):
        await rig.processor.process(batch(keyed(*"abcabcabca")))
        assert calls[0] == [0, 1, 2, 3]
        assert max(calls.sizes) == 4
        assert sorted(calls.handled) == [*range(10)]
        assert in_order(keyed(*"abcabcabca"), calls.handled)


@pytest.mark.parametrize(("ordering", "sizes"), [("partition", [3]), ("none", [3])])
async def test_events_without_key_share_a_list(ordering: Any, sizes: list[int]) -> None:
    """With and without an order, they may be in one list, as the list has an order."""
    async with opened(keyless_order=ordering) as (rig, calls):
        await rig.processor.process(batch(keyed(None, None, None)))
        assert calls.sizes == sizes


@pytest.mark.parametrize(
    ("bad", "keys", "error"),
    [
        (0, 1, LookupError),
        (511, 10, PoisonEventError),
        (777, 10, LookupError),
        (999, 1_000, LookupError),
    ],
)
async def test_one_bad_event_of_a_thousand_fails_alone(
    bad: int, keys: int, error: type[Exception]
) -> None:
    """It costs at most 2·log2 further calls, with the retries of the event alone."""
    events = many(1_000, keys)
    async with opened(fails(bad, error=error)) as (rig, calls):
        result = await rig.processor.process(batch(events))
        assert (result.handled, result.poisoned) == (999, 1)
        assert rig.poisoned == [bad]
        assert [bad] in calls
        assert sorted(calls.handled) == [each for each in range(1_000) if each != bad]
        assert in_order(events, calls.handled)
        assert len(calls) - 1 <= 2 * math.log2(1_000)
        attempts = rig.poison.messages[0].attempts
        assert attempts == (1 if error is PoisonEventError else 4)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 9])
async def test_search_is_bounded_for_each_size_and_place(count: int) -> None:
    """Each place of a bad event in a short list."""
    for bad in range(count):
        async with opened(fails(bad)) as (rig, calls):
            await rig.processor.process(batch(many(count, count)))
            assert rig.poisoned == [bad]
            assert len(calls) - 1 <= 2 * math.log2(count), calls


async def test_each_bad_event_fails_alone() -> None:
    """Also if all events of a list are bad, each is called alone once, and few lists are called."""
    async with opened(fails(*range(24))) as (rig, calls):
        result = await rig.processor.process(batch(many(24, 8)))
        assert result.poisoned == 24
        assert Counter(each[0] for each in calls if len(each) == 1) == dict.fromkeys(range(24), 1)
        assert len(calls) <= 24 * 2 * math.log2(24)


async def test_events_behind_a_failed_event_leave_the_list() -> None:
    """No later event of the key is called before the failed event has its outcome."""
    outcome = asyncio.Event()
    seen_before: list[int] = []

    def judge(events: list[Event]) -> Exception | None:
        numbers = [each.sequence_number for each in events]
        if not outcome.is_set():
            seen_before.extend(numbers[numbers.index(0) + 1 :] if 0 in numbers else [])
        return PoisonEventError("bad") if 0 in numbers else None

    async with opened(judge) as (rig, calls):
        put = rig.poison.put

        async def put_late(message: Any) -> None:
            others = {1, 3, 5, 7}
            while not others <= {*calls.handled}:  # the other key does not wait
                await asyncio.sleep(0)
            assert not {2, 4, 6} & {*calls.handled}
            await put(message)

        object.__setattr__(rig.poison, "put", put_late)
        await rig.processor.process(batch(keyed(*"abababab")))
        assert [*filter({2, 4, 6}.__contains__, calls.handled)] == [2, 4, 6]


async def test_parked_key_leaves_the_list() -> None:
    """The events behind a poisoned event are parked, and not called."""
    async with opened(fails(2), poison_ordering="park") as (rig, calls):
        result = await rig.processor.process(batch(keyed(*"abababab")))
        assert (result.handled, result.poisoned, result.parked) == (5, 1, 2)
        assert sorted(calls.handled) == [0, 1, 3, 5, 7]


async def test_dependency_error_is_not_halved() -> None:
    """The list is retried as it is, and then each of its events is called alone."""
    down = True

    def judge(events: list[Event]) -> Exception | None:
        return DependencyUnavailableError("down") if down else None

    settings = {"retry_max_seconds": 60.0, **DEFERS, "max_attempts": 3}
    async with opened(judge, **settings) as (rig, calls):
        result = await rig.processor.process(batch(many(100, 10)))
        assert (result.deferred, result.parked) == (10, 90)
        assert calls.sizes[:3] == [100, 100, 100]
        assert set(calls.sizes[3:]) == {1}
        assert {number for call in calls[3:] for number in call} == {*range(10)}


async def test_list_succeeds_after_a_short_failure_of_its_dependency() -> None:
    """A short failure costs one further call."""
    failures = [DependencyUnavailableError("once")]

    def judge(events: list[Event]) -> Exception | None:
        return failures.pop() if failures else None

    async with opened(judge, retry_max_seconds=60.0) as (rig, calls):
        result = await rig.processor.process(batch(many(100, 10)))
        assert calls.sizes == [100, 100]
        assert result.handled == 100


async def test_dependency_of_one_key_delays_no_other() -> None:
    """One shard is down: each key is judged by calls of its own events alone."""

    def judge(events: list[Event]) -> Exception | None:
        bad = any(each.key == "key-3" for each in events)
        return ConnectionError("shard 3 is down") if bad else None

    async with opened(judge, **DEFERS, max_attempts=2) as (rig, _):
        result = await rig.processor.process(batch(many(100, 10)))
        assert (result.handled, result.deferred, result.parked) == (90, 1, 9)
        assert [key.key for key in await rig.store.keys()] == ["key-3"]


async def test_forgotten_await_is_not_halved() -> None:
    """The handler is faulty, and not an event."""

    async def work() -> None: ...

    async def handle(events: list[Event]) -> object:
        sizes.append(len(events))
        return [work()]

    sizes: list[int] = []
    loaded = load_handler(handle, {})
    async with open_rig(settings=DEFERS, loaded=loaded) as rig:
        result = await rig.processor.process(batch(many(20, 2)))
        assert (result.deferred, result.parked) == (2, 18)
        assert sizes == [20, 1, 1]
        assert loaded.results.problem is not None


async def test_no_half_starts_once_the_instance_stops() -> None:
    """The events that were not called are unfinished."""

    def judge(events: list[Event]) -> Exception | None:
        if len(events) == 100:
            rig.processor.stop()
        return PoisonEventError("bad")

    async with opened(judge) as (rig, calls):
        with pytest.raises(ShutdownError):
            await rig.processor.process(batch(many(100, 10)))
        assert calls.sizes == [100]
        assert (await rig.progress.load(SOURCE)).watermark is None


async def test_cancelled_invocation_waits_for_the_end_of_its_list() -> None:
    """The cleanup of the call is not interrupted."""
    started, cleaned = asyncio.Event(), []

    async def handle(events: list[Event]) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(50):  # the cleanup outlasts the end of the lanes
                await asyncio.sleep(0)
            cleaned.append(len(events))

    async with open_rig(loaded=load_handler(handle, {}, timeout_seconds=60)) as rig:
        running = asyncio.create_task(rig.processor.process(batch(many(10, 5))))
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert cleaned == [10]


async def test_handler_that_cancels_its_own_task_fails_its_list() -> None:
    """The error is the handler's, and the batch ends."""

    async def handle(events: list[Event]) -> None:
        if any(each.sequence_number == 3 for each in events):
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    async with open_rig(loaded=load_handler(handle, {}, timeout_seconds=60)) as rig:
        result = await rig.processor.process(batch(many(10, 5)))
        assert (result.handled, result.poisoned) == (9, 1)
        assert rig.poisoned == [3]


async def test_plain_handler_gets_lists() -> None:
    """It runs in a thread."""
    sizes: list[int] = []

    def handle(events: list[Event]) -> None:
        sizes.append(len(events))
        if any(each.sequence_number == 3 for each in events):
            raise PoisonEventError("bad")

    async with open_rig(loaded=load_handler(handle, {}, timeout_seconds=60)) as rig:
        result = await rig.processor.process(batch(many(10, 10)))
        assert (result.handled, result.poisoned) == (9, 1)
        assert sizes[0] == 10


async def test_at_most_max_lanes_events_are_called_alone_at_the_same_time() -> None:
    """As many calls as a handler of one event gets, however long the list was."""
    running = most = 0

    async def handle(events: list[Event]) -> None:
        nonlocal running, most
        if len(events) == 1:
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return
        raise ConnectionError("down")

    loaded = load_handler(handle, {}, timeout_seconds=60)
    async with open_rig(settings={"max_lanes": 3}, loaded=loaded) as rig:
        result = await rig.processor.process(batch(many(50, 50)))
        assert result.handled == 50
        assert most == 3
