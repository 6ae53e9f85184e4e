"""Batches that defer: the share of refused events, and calls of replays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitOpenError,
    CircuitState,
    MemoryCircuitStore,
)
from processing.errors import DependencyUnavailableError
from processing.event import Event
from tests.support.jumping_loop import run_simulated
from tests.support.processing.events import batch, event
from tests.support.processing.processor_rig import Rig, keyed, open_rig

DEFERS: dict[str, Any] = {
    "deferred_events_max": 10_000,
    "max_attempts": 1,
    "hold_seconds": 60.0,
    "dependency_pause_seconds": 1.0,
}


async def refused() -> CircuitOpenError:
    async with CircuitBreaker(MemoryCircuitStore("bank"), BreakerSettings(name="bank")) as bank:
        return CircuitOpenError(replace(bank.circuit, state=CircuitState.OPEN))


@asynccontextmanager
async def open_deferring(behaviour: Any, **settings: Any) -> AsyncIterator[Rig]:
    rules = {"standstill_failures": 0, "failure_threshold": 1000}
    async with open_rig(behaviour, settings=DEFERS | settings, breaker_settings=rules) as rig:
        now = asyncio.get_running_loop().time
        rig.store._clock = lambda: 1_800_000_000 + now()
        yield rig


def test_released_key_does_not_count_as_refused_later() -> None:
    """A key that a refusal deferred once may be deferred for another reason later."""

    async def test() -> None:
        errors: dict[str, Exception] = {"a": await refused()}

        async def handle(each: Event) -> None:
            if each.key is not None and (error := errors.get(each.key)) is not None:
                raise error

        async with open_deferring(handle) as rig:
            assert (await rig.processor.process(batch([event(0, "a")]))).deferred == 1
            errors.clear()
            await asyncio.sleep(2)
            await rig.processor.replayer.run_due(4)
            assert await rig.store.keys() == []
            await asyncio.sleep(100)
            errors["a"] = DependencyUnavailableError("another dependency is down")
            result = await rig.processor.process(batch([event(n, "a") for n in range(1, 101)]))
            assert (result.deferred, result.parked) == (1, 99)
            # No event of this minute was refused; a refusal defers its key at once.
            errors["b"] = await refused()
            running = asyncio.create_task(rig.processor.process(batch([event(101, "b")])))
            await asyncio.sleep(5)
            assert running.done()
            await running

    run_simulated(test())


def test_held_batch_does_not_defer_everything_by_its_redeliveries() -> None:
    """A redelivered event is no further event of the minute."""

    async def test() -> None:
        error = await refused()

        async def handle(_each: Event) -> None:
            raise error

        events = keyed(*(f"k{n}" for n in range(100)))
        async with open_deferring(handle, hold_seconds=5.0) as rig:
            for _ in range(8):
                try:
                    await rig.processor.process(batch(events))
                except DependencyUnavailableError:
                    continue
                break
            assert len(await rig.store.keys()) == 80

    run_simulated(test())


def test_replays_run_no_more_calls_than_lanes_may() -> None:
    """`max_lanes` bounds the calls of the handler; plain handlers have so many threads."""

    async def test() -> None:
        down = True
        running = most = 0

        async def handle(each: Event) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await asyncio.sleep(1)
                if down:
                    raise DependencyUnavailableError("down")
            finally:
                running -= 1

        async with open_deferring(handle, max_lanes=2) as rig:
            await rig.processor.process(batch(keyed(*(f"k{n}" for n in range(20)))))
            assert len(await rig.store.keys()) == 20
            assert most == 2
            down = False
            await asyncio.sleep(60)
            await rig.processor.replayer.run_due(60)
            assert await rig.store.keys() == []
            assert most == 2

    run_simulated(test())
