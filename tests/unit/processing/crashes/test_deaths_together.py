"""A death that several processes of the app died together is a deploy, and blames no event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from processing.crashes.memory import MemoryCrashStore
from processing.crashes.process import ProcessName
from processing.crashes.records import opening_text
from processing.crashes.rules import ALONE_DEATHS_MAX, BEAT_SECONDS, SEEN_SECONDS
from processing.errors import ShutdownError
from processing.event import Event
from processing.parking.event import position_of
from tests.support.jumping_loop import LoopClock
from tests.support.processing.events import SOURCE, batch, event
from tests.support.processing.processor_rig import Rig, keyed, open_rig
from tests.support.processing.replay_rig import simulated

THIS = ProcessName.current()
RUN_SECONDS = 3.0
AT = position_of(event(0, "k"))


def here(number: int) -> ProcessName:
    """Return the name of a process of this machine that has died."""
    return replace(THIS, started=f"{number}")


def elsewhere(number: int) -> ProcessName:
    """Return the name of a process of another machine."""
    return ProcessName("elsewhere", number, "1")


class Fleet:
    """The processes of the app, beside the one of the test.

    Attributes:
        store: the store of crash loops.
        rig: the processor of the test's process.
    """

    def __init__(self, store: MemoryCrashStore, rig: Rig) -> None:
        self.store, self.rig = store, rig

    async def die(self, number: int, *others: ProcessName, seconds: float = RUN_SECONDS) -> None:
        """Let a process die that runs event 0 alone, and others together with it."""
        process = here(number)
        await self.store.beat(process)
        await self.store.begin(SOURCE, process, AT)
        for each in others:
            await self.store.beat(each)
        await asyncio.sleep(seconds)
        await self.store.still_runs(SOURCE, process, AT)

    async def process(self) -> None:
        """Handle two events in careful mode."""
        for number in range(100, 103):
            opening = opening_text(here(number), 0, 1, "host")
            await self.rig.store.claim(SOURCE, opening=opening)
        await self.rig.processor.process(batch(keyed("a", "b")))

    @property
    def poisoned(self) -> list[int]:
        """The poisoned events."""
        return self.rig.poisoned


@asynccontextmanager
async def open_fleet(**settings: float) -> AsyncIterator[Fleet]:
    stores: list[MemoryCrashStore] = []

    def kept(parking: object) -> MemoryCrashStore:
        stores.append(MemoryCrashStore(parking, LoopClock().time))  # type: ignore[arg-type]
        return stores[-1]

    async with open_rig(crash_store=kept, settings=dict(settings)) as rig:
        yield Fleet(stores[0], rig)


@simulated
async def test_event_that_processes_died_with_one_by_one_is_poisoned() -> None:
    """Nothing else has died, so the answer needs no wait."""
    async with open_fleet() as fleet:
        await fleet.die(1)
        await asyncio.sleep(2)
        await fleet.die(2)
        began = asyncio.get_running_loop().time()
        await fleet.process()
        assert fleet.poisoned == [0]
        assert asyncio.get_running_loop().time() - began < 1


@pytest.mark.parametrize("other", [here(9), elsewhere(9)])
def test_deaths_of_several_processes_at_once_blame_no_event(other: ProcessName) -> None:
    """The running times at two deploys agree by chance."""

    @simulated
    async def scenario() -> None:
        async with open_fleet() as fleet:
            await fleet.die(1, other)
            await asyncio.sleep(2)
            await fleet.die(2)
            await fleet.process()
            assert fleet.poisoned == []
            assert sorted(fleet.rig.handled) == [0, 1]

    scenario()


@simulated
async def test_deaths_beside_a_deploy_still_count() -> None:
    """The event ends its process, whether or not a deploy came in between."""
    async with open_fleet() as fleet:
        for number in (1, 2, 3):
            await fleet.die(number, *([here(9)] if number == 2 else []))
            await asyncio.sleep(2)
        await fleet.process()
        assert fleet.poisoned == [0]


@simulated
async def test_blame_waits_until_living_processes_have_shown_that_they_live() -> None:
    """Until its next heartbeat, a living process looks like one that died together."""
    async with open_fleet() as fleet:
        await fleet.die(1)
        await asyncio.sleep(2)
        await fleet.die(2, elsewhere(9))
        processing = asyncio.create_task(fleet.process())
        await asyncio.sleep(BEAT_SECONDS - RUN_SECONDS)
        assert (fleet.poisoned, fleet.rig.handled) == ([], [])
        await fleet.store.beat(elsewhere(9))
        await processing
        assert fleet.poisoned == [0]


@simulated
async def test_shutdown_ends_the_wait_before_a_blame() -> None:
    """Neither the handler is called, nor is the event poisoned."""
    async with open_fleet() as fleet:
        await fleet.die(1)
        await asyncio.sleep(2)
        await fleet.die(2, elsewhere(9))
        processing = asyncio.create_task(fleet.process())
        await asyncio.sleep(1)
        fleet.rig.processor.stop()
        with pytest.raises(ShutdownError):
            await processing
        assert (fleet.poisoned, fleet.rig.handled) == ([], [])
        assert len(await fleet.store.runs(SOURCE, AT)) == 2


@simulated
async def test_wait_before_a_blame_is_no_longer_than_a_hold() -> None:
    """Then the event runs again, and its next death is judged again."""
    async with open_fleet(hold_seconds=1.0) as fleet:
        await fleet.die(1)
        await asyncio.sleep(2)
        await fleet.die(2, elsewhere(9))
        began = asyncio.get_running_loop().time()
        await fleet.process()
        assert fleet.poisoned == []
        assert asyncio.get_running_loop().time() - began < 3


@simulated
async def test_process_that_was_found_dead_before_did_not_die_together() -> None:
    """The event has killed that process as well, before careful mode."""
    async with open_fleet() as fleet:
        await fleet.store.beat(here(9))
        await fleet.store.found_dead([here(9)])
        await asyncio.sleep(1)
        await fleet.die(1, seconds=0.1)
        await asyncio.sleep(1.5)
        await fleet.die(2, seconds=0.1)
        await fleet.process()
        assert fleet.poisoned == [0]


@simulated
async def test_owner_of_a_partition_records_the_dead_before_it_runs_an_event() -> None:
    """Otherwise they would look like processes that died together with this one."""
    async with open_fleet() as fleet:
        now = (await fleet.store.last_seen(0, 0, found_dead_before=0)).now
        for number in range(100, 103):
            await fleet.store.beat(here(number))
        await asyncio.sleep(1)
        await fleet.process()
        later = (await fleet.store.last_seen(0, 0, found_dead_before=0)).now
        seen = await fleet.store.last_seen(0, now, found_dead_before=later + 1)
        assert seen.processes == []


@simulated
async def test_event_that_runs_alone_begins_with_a_heartbeat() -> None:
    """A process that takes an event over did not die together with the last one."""
    seen: list[ProcessName] = []

    async with open_fleet() as fleet:

        async def handle(_each: Event) -> None:
            now = (await fleet.store.last_seen(0, 0, found_dead_before=0)).now
            found = await fleet.store.last_seen(now - 1000, now, found_dead_before=0)
            seen.extend(found.processes)

        fleet.rig.behaviour = handle
        await fleet.process()
        assert seen == [THIS, THIS]


@simulated
async def test_event_that_never_survives_a_deploy_is_given_up() -> None:
    """Its partition must not wait for an operator."""
    async with open_fleet() as fleet:
        for number in range(ALONE_DEATHS_MAX):
            await fleet.die(number, here(90 + number))
            await asyncio.sleep(SEEN_SECONDS)
        await fleet.process()
        assert fleet.poisoned == [0]
