"""Lists at an open, half-open and ramping circuit, in careful mode, and at their deadline."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from breaker import CircuitOpenError, CircuitState
from breaker.configuration.function_timeout import FunctionTimeout
from processing.batch.time_budget import TimeBudget
from processing.dependencies import dependency
from processing.errors import DependencyUnavailableError, OwnershipLostError, PoisonEventError
from processing.event import Event
from processing.handlers.loading import load_handler
from processing.parking.deferral import DeferralReason
from tests.support.processing.dependency_rig import LoopClock, open_dependencies
from tests.support.processing.dependency_rig import trip as trip_dependency
from tests.support.processing.events import SOURCE, batch
from tests.support.processing.list_rig import DEFERS, fails, many, opened
from tests.support.processing.processor_rig import in_order, keyed, open_rig, trip
from tests.support.processing.replay_rig import simulated

FEW: dict[str, Any] = {"failure_threshold": 3, "half_open_permits": 2}


async def test_no_half_of_a_list_starts_once_the_circuit_is_open() -> None:
    """The events of the other half are unfinished, and no checkpoint passes them."""

    async def handle(events: list[Event]) -> None:
        sizes.append(len(events))
        await trip(rig.breaker)
        raise PoisonEventError("bad")

    sizes: list[int] = []
    async with open_rig(
        settings={"hold_seconds": 0.0}, breaker_settings=FEW, loaded=load_handler(handle, {})
    ) as rig:
        with pytest.raises(CircuitOpenError):
            await rig.processor.process(batch(many(40, 10)))
        assert sizes == [40]
        assert (await rig.progress.load(SOURCE)).watermark is None


async def test_held_lists_resume_when_the_circuit_closes() -> None:
    """Until then no list starts: some lanes wait at the gate, others have offered their events."""
    async with opened(rules=FEW, hold_seconds=30.0, batch_handler_events=10) as (rig, calls):
        opened_at: list[int] = []

        async def trip_once(events: list[Event]) -> None:
            if not opened_at:
                opened_at.append(len(calls))
                await trip(rig.breaker)

        calls.before = trip_once
        events = many(40, 20)
        running = asyncio.create_task(rig.processor.process(batch(events)))
        while rig.breaker.circuit.admits:
            await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        assert calls.sizes == [10]
        await rig.breaker.approve(rig.breaker.circuit.generation, "op")
        result = await running
        assert result.handled == 40
        assert sorted(calls.handled) == [*range(40)]
        assert in_order(events, calls.handled)


async def test_list_has_at_most_as_many_events_as_half_open_permits() -> None:
    """Each probe of a list counts as a success of its own."""
    async with opened(rules={**FEW, "half_open_permits": 3}, hold_seconds=30.0) as (rig, calls):
        await trip(rig.breaker)
        await rig.breaker.approve(1, "op")
        states: list[tuple[CircuitState, int]] = []

        async def note(events: list[Event]) -> None:
            states.append((rig.breaker.circuit.state, len(events)))

        calls.before = note
        result = await rig.processor.process(batch(many(40, 10)))
        assert result.handled == 40
        probes = [size for state, size in states if state is CircuitState.HALF_OPEN]
        assert sum(probes) == 3
        assert max(probes) > 1, "the lanes' probes share a list"
        assert rig.breaker.circuit.state is CircuitState.CLOSED
        assert sorted(calls.handled) == [*range(40)]


@simulated
async def test_failed_probes_of_a_list_open_the_circuit_again() -> None:
    """Each probe fails by a call of its event alone."""
    down = fails(*range(40), error=DependencyUnavailableError)
    rules = {**FEW, "half_open_permits": 3, "standstill_failures": 0}
    async with opened(down, rules=rules, hold_seconds=30.0, max_attempts=1) as (rig, calls):
        await trip(rig.breaker)
        await rig.breaker.approve(1, "op")
        with pytest.raises((CircuitOpenError, DependencyUnavailableError)):
            await rig.processor.process(batch(many(40, 10)))
        assert rig.breaker.circuit.generation == 2
        assert rig.breaker.circuit.state is CircuitState.OPEN
        assert calls.handled == []
        assert max(calls.sizes) <= 3


@simulated
async def test_lists_grow_with_the_ramp() -> None:
    """After the closing few keys may run at first."""
    rules = {**FEW, "half_open_permits": 1, "ramp_seconds": 10}
    options = {"clock": LoopClock()}
    async with opened(rules=rules, options=options, hold_seconds=30.0) as (rig, calls):

        async def slow(events: list[Event]) -> None:
            await asyncio.sleep(1)

        calls.before = slow
        await trip(rig.breaker)
        await rig.breaker.approve(1, "op")
        result = await rig.processor.process(batch(many(100, 100)))
        assert result.handled == 100
        assert calls.sizes[1] < 10
        assert max(calls.sizes) > 10


async def test_careful_mode_calls_one_event_at_a_time() -> None:
    """A list that ends its process would hide the event that does it."""
    async with opened() as (rig, calls):
        rig.crashes.careful.begin("test", "a test")
        result = await rig.processor.process(batch(many(20, 5)))
        assert result.handled == 20
        assert calls.sizes == [1] * 20


async def test_careful_mode_that_begins_during_a_list_ends_its_search() -> None:
    """The other partitions' events run alone from then on, too."""
    async with opened(fails(7)) as (rig, calls):

        async def begin(events: list[Event]) -> None:
            if len(events) == 20:
                rig.crashes.careful.begin("test", "a test")

        calls.before = begin
        result = await rig.processor.process(batch(many(20, 5)))
        assert (result.handled, result.poisoned) == (19, 1)
        assert calls.sizes == [20] + [1] * 20


@pytest.mark.parametrize(("keys", "sizes"), [(2, [10]), (400, [10, 10])])
async def test_lost_partition_ends_the_lists(keys: int, sizes: list[int]) -> None:
    """The new owner calls the events that were not finished.

    While the first list's progress is written, the lanes that wait may have one further list.
    """
    async with opened(batch_handler_events=10) as (rig, calls):

        async def lose(events: list[Event]) -> None:
            if len(calls) == 1:
                await rig.store.claim(SOURCE)

        calls.before = lose
        with pytest.raises(OwnershipLostError):
            await rig.processor.process(batch(many(400, keys)))
        assert calls.sizes == sizes


@simulated
async def test_list_that_outlasts_its_invocation_marks_one_event_of_each_key() -> None:
    """The next run defers these keys without a call, and calls no list with them."""
    budget = TimeBudget.of(FunctionTimeout(100.0), 4.0)
    settings = {**DEFERS, "handler_timeout_seconds": 4.0, "hold_seconds": 10.0}
    async with opened(options={"budget": budget}, **settings) as (rig, calls):

        async def hang(events: list[Event]) -> None:
            if len(events) > 1:
                await asyncio.sleep(10_000)

        calls.before = hang
        events = many(40, 4)
        running = asyncio.create_task(rig.processor.process(batch(events)))
        await asyncio.sleep(100)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert calls.sizes == [40]
        result = await rig.processor.process(batch(events))
        assert (result.deferred, result.parked) == (4, 36)
        assert calls.sizes == [40]


async def test_refused_list_is_called_event_by_event() -> None:
    """A key that does not need the open dependency is not deferred."""

    async def handle(events: list[Event]) -> None:
        sizes.append(len(events))
        for each in events:
            if each.key == "key-3":
                async with dependency("bank"):
                    pytest.fail("the circuit of the bank is open")

    sizes: list[int] = []
    async with open_dependencies() as circuits:
        await trip_dependency(circuits)
        async with open_rig(
            settings=DEFERS, loaded=load_handler(handle, {}), dependencies=circuits
        ) as rig:
            result = await rig.processor.process(batch(many(40, 10)))
            assert (result.handled, result.deferred, result.parked) == (36, 1, 3)
            (found,) = await rig.store.keys()
            assert found.deferral is not None
            assert found.key == "key-3"
            assert found.deferral.reason is DeferralReason.REFUSED
            assert sizes[:2] == [40, 1]


async def test_successes_of_a_list_count_for_each_of_its_events() -> None:
    """Otherwise one failure among many events would be a great share."""

    async def handle(events: list[Event]) -> None:
        async with dependency("bank"):
            pass

    async with open_dependencies(failure_ratio=0.5, minimum_throughput=10) as circuits:
        bank = await circuits.use("bank")
        assert bank is not None
        noted: Counter[str] = Counter()
        record = bank.record_successes

        async def record_successes(count: int, permit: Any) -> Any:
            noted["bank"] += count
            return await record(count, permit)

        object.__setattr__(bank, "record_successes", record_successes)
        loaded = load_handler(handle, {})
        async with open_rig(loaded=loaded, dependencies=circuits) as rig:
            await rig.processor.process(batch(keyed(*"abcdefabc")))
            assert noted["bank"] == 9


async def test_kill_doubles_only_the_events_of_the_running_list() -> None:
    """The events of earlier lists are committed before the kill."""
    async with opened(batch_handler_events=10) as (rig, calls):
        started: asyncio.Event = asyncio.Event()
        hangs = True

        async def hang_at_the_second(events: list[Event]) -> None:
            if hangs and len(calls) == 2:
                started.set()
                await asyncio.Event().wait()

        calls.before = hang_at_the_second
        events = many(40, 4)
        running = asyncio.create_task(rig.processor.process(batch(events)))
        await started.wait()
        while not (await rig.progress.load(SOURCE)).finished_among(events):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        hangs = False
        result = await rig.processor.process(batch(events))
        assert (result.handled, result.skipped) == (30, 10)
        assert Counter(number for call in calls for number in call) == {
            number: 2 if number in calls[1] else 1 for number in range(40)
        }
