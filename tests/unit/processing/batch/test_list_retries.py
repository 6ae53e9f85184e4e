"""Lists between two calls: the claim, a stop, and a circuit that has changed since the first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from breaker import CircuitState
from breaker.configuration.function_timeout import FunctionTimeout
from processing.batch.time_budget import TimeBudget
from processing.errors import (
    DependencyUnavailableError,
    OutOfTimeError,
    OwnershipLostError,
    ShutdownError,
)
from processing.event import Event
from tests.support.processing.events import SOURCE, batch
from tests.support.processing.list_rig import fails, many, opened
from tests.support.processing.processor_rig import trip
from tests.support.processing.replay_rig import LoopClock, simulated

FEW: dict[str, Any] = {"failure_threshold": 3, "half_open_permits": 2}

DOWN = fails(*range(40), error=DependencyUnavailableError)


async def test_list_is_not_retried_once_the_partition_is_lost() -> None:
    """The claim is checked before each further attempt."""
    async with opened(DOWN, retry_initial_seconds=0.01, retry_max_seconds=60.0) as (rig, calls):

        async def lose(events: list[Event]) -> None:
            await rig.store.claim(SOURCE)

        calls.before = lose
        with pytest.raises(OwnershipLostError):
            await rig.processor.process(batch(many(40, 10)))
        assert calls.sizes == [40]


@simulated
async def test_stop_ends_the_pause_of_a_list() -> None:
    """An instance that stops does not wait for a further attempt."""
    async with opened(DOWN, retry_initial_seconds=50.0, retry_max_seconds=60.0) as (rig, calls):
        running = asyncio.create_task(rig.processor.process(batch(many(40, 10))))
        while not calls:
            await asyncio.sleep(0.1)
        stopped_at = asyncio.get_running_loop().time()
        rig.processor.stop()
        with pytest.raises(ShutdownError):
            await running
        assert asyncio.get_running_loop().time() - stopped_at < 1
        assert calls.sizes == [40]


@simulated
async def test_deadline_ends_the_pause_of_a_list() -> None:
    """The platform would end the process during the pause."""

    def busy(_events: list[Event]) -> Exception:
        return DependencyUnavailableError("down", retry_after=55.0)

    budget = TimeBudget.of(FunctionTimeout(100.0), 4.0)
    settings: dict[str, Any] = {
        "handler_timeout_seconds": 4.0,
        "hold_seconds": 10.0,
        "retry_max_seconds": 60.0,
    }
    async with opened(busy, options={"budget": budget}, **settings) as (rig, calls):
        began = asyncio.get_running_loop().time()
        with pytest.raises(OutOfTimeError):
            await rig.processor.process(batch(many(40, 10)))
        assert asyncio.get_running_loop().time() - began < 100
        assert calls.sizes == [40, 40]


@simulated
async def test_lists_that_were_offered_before_an_opening_meet_the_ramp() -> None:
    """The circuit opens and closes while the lanes wait, and they ask the gate again."""
    rules = {**FEW, "half_open_permits": 1, "ramp_seconds": 10}
    options = {"clock": LoopClock()}
    async with opened(rules=rules, options=options, hold_seconds=30.0, batch_handler_events=10) as (
        rig,
        calls,
    ):

        async def open_and_close(events: list[Event]) -> None:
            if len(calls) == 1:
                await trip(rig.breaker)
                await rig.breaker.approve(1, "op")
                permit = await rig.breaker.try_acquire()
                await rig.breaker.record_successes(1, permit)
                assert rig.breaker.circuit.state is CircuitState.CLOSED

        calls.before = open_and_close
        result = await rig.processor.process(batch(many(100, 100)))
        assert result.handled == 100
        assert calls.sizes[0] == 10
        assert calls.sizes[1] < 10


async def test_probe_does_not_get_the_error_of_a_list_before_the_opening() -> None:
    """A probe says how the dependency is now, so it needs a call of its own."""
    async with opened(rules=FEW, hold_seconds=30.0, max_attempts=1) as (rig, calls):

        async def fail_once(events: list[Event]) -> None:
            if len(calls) == 1:
                await trip(rig.breaker)
                raise LookupError("before the opening")

        calls.before = fail_once
        running = asyncio.create_task(rig.processor.process(batch(many(1, 1))))
        while rig.breaker.circuit.admits:
            await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        await rig.breaker.approve(1, "op")
        result = await running
        assert (result.handled, result.poisoned) == (1, 0)
        assert list(calls) == [[0], [0]]
