"""Overdue events: those that outlast their invocation do not stop their partition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from breaker import CircuitState
from breaker.configuration.function_timeout import FunctionTimeout
from processing.batch.time_budget import TimeBudget
from processing.errors import OutOfTimeError, OverdueEventError
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.monitoring.reasons import Why
from processing.parking.deferral import DeferralReason
from processing.parking.event import position_of
from processing.parking.store import ParkedKey
from tests.support.processing.events import SOURCE, batch, event
from tests.support.processing.processor_rig import Rig, keyed, open_rig, trip
from tests.support.processing.replay_rig import simulated

DEFERS: dict[str, Any] = {
    "deferred_events_max": 10_000,
    "handler_timeout_seconds": 4.0,
    "hold_seconds": 10.0,
}


@asynccontextmanager
async def opened(handle: Callable[[Event], Awaitable[None]], **settings: Any) -> AsyncIterator[Rig]:
    """Open a processor with 80 s for the starts of an invocation's attempts."""
    async with open_rig(
        settings=DEFERS | settings,
        breaker_settings={"standstill_failures": 0},
        budget=TimeBudget.of(FunctionTimeout(100.0), 4.0),
    ) as rig:

        async def noted(each: Event) -> None:
            await handle(each)
            rig.handled.append(each.sequence_number)

        # With a time limit the handler knows which of its calls run.
        parts = rig.processor.parts
        object.__setattr__(parts, "handler", LoadedHandler("t:h", noted, timeout_seconds=3600))
        object.__setattr__(parts, "handle", parts.handler.handle)
        now = asyncio.get_running_loop().time
        rig.store._clock = lambda: 1_800_000_000 + now()
        yield rig


async def lists(rig: Rig) -> dict[object, ParkedKey]:
    return {each.key: each for each in await rig.store.keys()}


async def die_at_the_timeout(rig: Rig, events: list[Event]) -> None:
    """Run a batch until functionTimeout, at which the platform ends the process."""
    running = asyncio.create_task(rig.processor.process(batch(events)))
    await asyncio.sleep(100)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@simulated
async def test_event_that_outlasts_its_invocation_is_deferred_at_its_next_run() -> None:
    """Its partition continues, in the order of each key, and no circuit counts anything."""
    calls: list[int] = []

    async def hangs(each: Event) -> None:
        calls.append(each.sequence_number)
        if each.sequence_number == 1:
            await asyncio.sleep(10_000)

    async with opened(hangs) as rig:
        events = list(keyed("a", "b", "a", "b", "c"))
        await die_at_the_timeout(rig, events)
        assert calls == [0, 1, 4, 2]
        result = await rig.processor.process(batch(events))
        assert calls == [0, 1, 4, 2]
        assert (result.deferred, result.parked, result.poisoned) == (1, 1, 0)
        found = (await lists(rig))["b"]
        assert found.entries == 2
        assert found.deferral is not None
        assert found.deferral.reason is DeferralReason.DEPENDENCY
        assert "OverdueEventError" in found.deferral.error
        assert found.deferral.head == position_of(event(1))
        assert rig.breaker.circuit.failures == 0
        assert rig.breaker.circuit.state is CircuitState.CLOSED


@simulated
async def test_event_that_ends_late_is_finished() -> None:
    """A mark is no verdict: an event that ended after all is not run again."""

    async def slow(_each: Event) -> None:
        await asyncio.sleep(85)

    async with opened(slow) as rig:
        result = await rig.processor.process(batch(keyed("a")))
        assert (result.handled, result.deferred) == (1, 0)


@simulated
async def test_event_whose_retries_outlast_the_invocation_is_deferred() -> None:
    """An event whose attempts take too long would never use them up."""
    calls: list[float] = []

    async def fails(_each: Event) -> None:
        calls.append(asyncio.get_running_loop().time())
        await asyncio.sleep(5)
        raise LookupError("x")

    pauses: dict[str, Any] = {"retry_initial_seconds": 30.0, "retry_max_seconds": 30.0}
    async with opened(fails, max_attempts=9, **pauses) as rig:
        with pytest.raises(OutOfTimeError):
            await rig.processor.process(batch(keyed("a")))
        count = len(calls)
        result = await rig.processor.process(batch(keyed("a")))
        assert (result.deferred, len(calls)) == (1, count)


@pytest.mark.parametrize("key", [None, "a"])
@simulated
async def test_overdue_event_that_cannot_be_deferred_holds_its_partition(key: str | None) -> None:
    """Events without a key keep their order; and deferring may be off. The event is named."""
    calls: list[int] = []

    async def hangs(each: Event) -> None:
        calls.append(each.sequence_number)
        await asyncio.sleep(10_000)

    most = 10_000 if key is None else 0
    async with opened(hangs, deferred_events_max=most) as rig:
        events = [event(0, key), event(1, key)]
        await die_at_the_timeout(rig, events)
        began = asyncio.get_running_loop().time()
        with pytest.raises(OverdueEventError, match="functionTimeout"):
            await rig.processor.process(batch(events))
        assert asyncio.get_running_loop().time() - began == 10  # hold_seconds
        assert calls == [0]
        (state,) = rig.processor.parts.watch.states()
        assert (state.why, state.sequence_number) == (Why.OVERDUE, 0)
        await asyncio.sleep(600)  # the marks have expired
        await die_at_the_timeout(rig, events)
        assert calls == [0, 0]


@simulated
async def test_operator_poisons_an_overdue_event_without_a_key() -> None:
    """The partition continues behind it."""

    async def hangs(each: Event) -> None:
        if each.sequence_number == 0:
            await asyncio.sleep(10_000)

    async with opened(hangs) as rig:
        events = [event(0, None), event(1, None)]
        await die_at_the_timeout(rig, events)
        await rig.store.poison_head(SOURCE, events[0].id)
        result = await rig.processor.process(batch(events))
        assert (result.poisoned, result.handled) == (1, 1)
        assert rig.poisoned == [0]


@simulated
async def test_overdue_event_waits_while_the_circuit_is_open() -> None:
    """An open circuit holds the checkpoint, so nothing is deferred until it closes."""

    async def hangs(_each: Event) -> None:
        await asyncio.sleep(10_000)

    async with opened(hangs) as rig:
        events = [event(0, "a")]
        await die_at_the_timeout(rig, events)
        await trip(rig.breaker)
        running = asyncio.create_task(rig.processor.process(batch(events)))
        await asyncio.sleep(5)
        assert await lists(rig) == {}
        await rig.breaker.approve(1, "op")
        assert (await running).deferred == 1


@simulated
async def test_overdue_event_behind_an_unfinished_one_of_its_key_is_deferred() -> None:
    """The process may have died before it wrote that the events before it were handled."""
    calls: list[int] = []

    async def hangs(each: Event) -> None:
        calls.append(each.sequence_number)
        if each.sequence_number == 1:
            await asyncio.sleep(10_000)

    async with opened(hangs) as rig:
        events = list(keyed("a", "a", "a"))
        await rig.store.mark_overdue(SOURCE, [position_of(events[1])])
        result = await rig.processor.process(batch(events))
        assert calls == [0]
        assert (result.handled, result.deferred, result.parked) == (1, 1, 1)
