"""An outage of the poison queue, or of the store of crash loops, in careful mode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from breaker import Key
from processing.crashes.memory import MemoryCrashStore
from processing.crashes.process import ProcessName
from processing.crashes.records import AloneRun, opening_text
from processing.errors import ShutdownError, StorageUnavailableError
from processing.event import Event
from processing.identity import Source
from processing.parking.event import Position, position_of
from processing.poison.message import PoisonMessage
from tests.support.jumping_loop import LoopClock
from tests.support.processing import replay_rig
from tests.support.processing.events import SOURCE, batch, event
from tests.support.processing.processor_rig import Rig, keyed, open_rig
from tests.support.processing.replay_rig import simulated

THIS = ProcessName.current()
ALONE = event(1, "k")


def dead(number: int) -> ProcessName:
    """Return the name of a process of this machine that has died."""
    return replace(THIS, started=f"{number}")


class Store(MemoryCrashStore):
    """A store of crash loops that can be away for records of events that run alone.

    Attributes:
        away: whether it is away.
    """

    away = False

    def __init__(self, parking: Any) -> None:
        super().__init__(parking, LoopClock().time)

    async def begin(self, source: Source, process: ProcessName, position: Position) -> None:
        if self.away:
            raise StorageUnavailableError("away")
        await super().begin(source, process, position)

    async def die_twice(self) -> None:
        """Let two processes die while the event 1 runs alone."""
        for number in range(2):
            await self.begin(SOURCE, dead(number), position_of(ALONE))
            await asyncio.sleep(2)

    async def deaths(self) -> list[AloneRun]:
        """Return the runs of the event 1 that did not end."""
        return list(await self.runs(SOURCE, position_of(ALONE)))


@asynccontextmanager
async def careful_rig(**settings: float) -> AsyncIterator[tuple[Rig, Store]]:
    """Open a processor that is in careful mode from its first batch on."""
    stores: list[Store] = []

    def kept(parking: Any) -> Store:
        stores.append(Store(parking))
        return stores[-1]

    async with open_rig(crash_store=kept, settings=dict(settings)) as rig:
        for number in range(100, 103):
            await rig.store.claim(SOURCE, opening=opening_text(dead(number), 0, 3, "host"))
        yield rig, stores[0]


class Outage:
    """An outage of a rig's poison queue, which begins at once.

    Attributes:
        over: whether the outage is over.
    """

    def __init__(self, rig: Rig | replay_rig.Rig) -> None:
        self.over = False
        self._put = rig.poison.put
        rig.poison.put = self._refuse  # type: ignore[method-assign]

    async def _refuse(self, message: PoisonMessage) -> None:
        if not self.over:
            raise StorageUnavailableError("the queue is away")
        await self._put(message)


@simulated
async def test_deaths_are_recorded_until_the_poison_queue_has_the_event() -> None:
    """Otherwise the event would end two more processes after the outage."""
    async with careful_rig(hold_seconds=3) as (rig, store):
        await store.die_twice()
        outage = Outage(rig)
        with pytest.raises(StorageUnavailableError):
            await rig.processor.process(batch([ALONE]))
        assert len(await store.deaths()) == 2
        outage.over = True
        await rig.processor.process(batch([ALONE]))
        assert (rig.poisoned, rig.handled) == ([1], [])
        assert await store.deaths() == []


@simulated
async def test_event_that_runs_alone_keeps_its_record_when_another_one_is_poisoned() -> None:
    """Its lane got the turn while the poison queue was away."""
    async with careful_rig(hold_seconds=30) as (rig, store):
        await store.die_twice()
        kept: list[AloneRun] = []

        async def handle(each: Event) -> None:
            outage.over = True
            await asyncio.sleep(10)
            kept.extend(await store.runs(SOURCE, position_of(each)))

        rig.behaviour = handle
        outage = Outage(rig)
        await rig.processor.process(batch([ALONE, event(2, "other")]))
        assert (rig.poisoned, rig.handled) == ([1], [2])
        assert [run.process for run in kept] == [THIS]


@pytest.mark.parametrize("ordering", ["skip", "park"])
def test_deaths_are_recorded_until_a_replay_has_poisoned_the_event(ordering: str) -> None:
    """With `park` the event's list has its message before the queue has it."""

    @simulated
    async def scenario() -> None:
        async with replay_rig.open_rig(poison_ordering=ordering, hold_seconds=3) as rig:
            store = rig.crash_store
            for number in range(2):
                await store.begin(SOURCE, dead(number), position_of(ALONE))
                await asyncio.sleep(2)
            for number in range(100, 103):
                await store.open_replay(SOURCE, "k", dead(number))
            await rig.defer(1)
            outage = Outage(rig)
            await rig.replay()
            kept = len(await store.runs(SOURCE, position_of(ALONE)))
            assert kept == (2 if ordering == "skip" else 0)
            outage.over = True
            await asyncio.sleep(60)
            await rig.replay()
            assert (rig.poisoned, rig.started) == ([1], [])
            assert await store.runs(SOURCE, position_of(ALONE)) == []

    scenario()


@pytest.mark.parametrize("deferred_events_max", [0, 100])
def test_silent_store_is_no_failure_of_the_event(deferred_events_max: int) -> None:
    """The batch runs again, as in each outage of a store, and no circuit counts."""

    @simulated
    async def scenario() -> None:
        settings = {"hold_seconds": 3, "deferred_events_max": deferred_events_max}
        async with careful_rig(**settings) as (rig, store):
            store.away = True
            with pytest.raises(StorageUnavailableError):
                await rig.processor.process(batch(keyed("a", "b")))
            assert (rig.handled, rig.poisoned) == ([], [])
            assert (await rig.breaker.refresh()).failures == 0
            assert await rig.store.keys() == []
            store.away = False
            await rig.processor.process(batch(keyed("a", "b")))
            assert sorted(rig.handled) == [0, 1]

    scenario()


@simulated
async def test_store_that_is_silent_at_a_retry_ends_the_attempts() -> None:
    """One wait for the store, and not one for each attempt that was left."""
    async with careful_rig(hold_seconds=3, max_attempts=5) as (rig, store):

        async def fails(_each: Event) -> None:
            store.away = True
            raise LookupError("x")

        rig.behaviour = fails
        began = asyncio.get_running_loop().time()
        with pytest.raises(StorageUnavailableError):
            await rig.processor.process(batch(keyed("a")))
        assert asyncio.get_running_loop().time() - began < 2 * 3
        assert rig.poisoned == []


@simulated
async def test_shutdown_ends_the_wait_for_a_silent_store() -> None:
    """An invocation that was halted ends it as well."""
    async with careful_rig(hold_seconds=30) as (rig, store):
        store.away = True
        processing = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
        await asyncio.sleep(1)
        rig.processor.stop()
        began = asyncio.get_running_loop().time()
        with pytest.raises(ShutdownError):
            await processing
        assert asyncio.get_running_loop().time() - began < 1
        assert rig.handled == []


@simulated
async def test_silent_store_is_no_failure_of_a_replay() -> None:
    """No attempt is counted, and the probe's permit is free again."""
    async with replay_rig.open_rig(hold_seconds=3) as rig:
        for number in range(100, 103):
            await rig.crash_store.open_replay(SOURCE, "k", dead(number))
        await rig.defer(1)
        await rig.half_open()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rig.crash_store, "begin", Store.begin.__get__(_Away()))
            await rig.replay()
        assert (await rig.deferral()).attempts == 1
        assert (await rig.breaker.refresh()).probe_failures == 0
        assert rig.started == []
        permits = [await rig.breaker.try_acquire(Key(key)) for key in "ab"]
        assert all(permit.probe_id for permit in permits)
        for permit in permits:
            await rig.breaker.release(permit)
        await asyncio.sleep(60)
        await rig.replay()
        assert rig.handled == [1]


class _Away:
    away = True
