"""Batches that defer: the share of refused events, and calls of replays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitOpenError,
    CircuitState,
    MemoryCircuitStore,
)
from processing.errors import (
    DependencyUnavailableError,
    PoisonEventError,
    StorageUnavailableError,
)
from processing.event import Event
from tests.support.jumping_loop import run_with_all_clocks
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

    run_with_all_clocks(test())


def test_held_batch_does_not_defer_everything_by_its_redeliveries() -> None:
    """A redelivered event is no further event of the minute."""

    async def test() -> None:
        error = await refused()
        is_open = True

        async def handle(_each: Event) -> None:
            if is_open:
                raise error

        events = keyed(*(f"k{n}" for n in range(100)))
        async with open_deferring(handle, hold_seconds=5.0) as rig:
            for _ in range(15):  # more than a minute
                with pytest.raises(DependencyUnavailableError):
                    await rig.processor.process(batch(events))
            assert len(await rig.store.keys()) == 80
            is_open = False
            result = await rig.processor.process(batch(events))
            assert (result.handled, result.deferred) == (20, 0)

    run_with_all_clocks(test())


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

    run_with_all_clocks(test())


def test_partition_with_lists_holds_and_recovers_when_deferring_is_turned_off() -> None:
    """Events of a deferred key wait in place until replays have released the key."""

    async def test() -> None:
        down = True

        async def handle(each: Event) -> None:
            if down and each.key == "a":
                raise DependencyUnavailableError("down")

        async with open_deferring(handle) as rig:
            await rig.processor.process(batch(keyed("a", "b", "a")))
        async with open_deferring(handle, deferred_events_max=0, hold_seconds=0.3) as off:
            off.store._lists = rig.store._lists
            off.store._limits = (100, 0, 2**20)
            events = [event(3, "a"), event(4, "b"), event(5, "a")]
            errors = []
            for _ in range(20):
                try:
                    await off.processor.process(batch(events))
                except StorageUnavailableError as error:
                    errors.append(error)
                    if len(errors) == 2:
                        down = False
                else:
                    break
            assert len(errors) >= 2
            await off.processor.replayer.run_due(4)
            assert off.handled == [4, 0, 2, 3, 5]
            assert await off.store.keys() == []

    run_with_all_clocks(test())


@pytest.mark.parametrize(("before", "then"), [("park", "skip"), ("skip", "park")])
def test_changed_ordering_keeps_the_order_of_keys_with_lists(before: str, then: str) -> None:
    """Later events join the list of their key, whatever the setting is now."""

    async def test() -> None:
        bad = {0}
        down = {"d"}

        async def handle(each: Event) -> None:
            if each.sequence_number in bad:
                raise PoisonEventError("bad")
            if each.key in down:
                raise DependencyUnavailableError("down")

        async with open_deferring(handle, poison_ordering=before) as rig:
            await rig.processor.process(batch(keyed("p", "d", "p", "d")))
        async with open_deferring(handle, poison_ordering=then) as later:
            later.store._lists = rig.store._lists
            later.store._replayed = rig.store._replayed
            events = [event(n, key) for n, key in enumerate(("p", "d", "x"), 4)]
            await later.processor.process(batch(events))
            down.clear()
            await asyncio.sleep(5)
            await later.processor.replayer.run_due(4)
            of_d = [number for number in later.handled if number in (1, 3, 5)]
            assert of_d == [1, 3, 5]
            assert (4 in later.handled) == (before == "skip")

    run_with_all_clocks(test())
