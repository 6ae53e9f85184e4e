"""A deferred event that ends its process in a replay is found as well."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from processing.crashes.process import ProcessName
from processing.errors import DependencyUnavailableError
from processing.event import Event
from processing.parking.event import position_of
from tests.support.processing.events import SOURCE, event
from tests.support.processing.replay_rig import Rig, open_rig, simulated

THIS = ProcessName.current()


def dead(number: int) -> ProcessName:
    """Return the name of a process of this machine that has died."""
    return replace(THIS, started=f"{number}")


async def crash(rig: Rig, times: int) -> None:
    """Let a number of processes die while they replay the key "k"."""
    for number in range(times):
        await rig.crash_store.open_replay(SOURCE, "k", dead(number))


async def recorded(rig: Rig) -> list[ProcessName]:
    """Return the processes whose replay of the key "k" did not end."""
    found = await rig.crash_store.open_replay(SOURCE, "k", dead(99))
    await rig.crash_store.close_replay(SOURCE, "k", dead(99), moved=False)
    return list(found)


async def at_once(rig: Rig) -> int:
    """Replay two keys, and return how many of their events ran at the same time."""
    running, most = 0, 0

    async def handle(_each: Event) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    rig.before = handle
    await rig.defer(1)
    await rig.defer(2, key="other")
    await rig.replay("k", "other")
    assert sorted(rig.handled) == [1, 2]
    return most


@simulated
async def test_replays_run_one_event_at_a_time_after_three_deaths() -> None:
    """Careful mode ends with the replay."""
    async with open_rig() as rig:
        await crash(rig, 3)
        assert await at_once(rig) == 1
        assert not rig.crashes.careful.on
        assert await recorded(rig) == [], "an event of the key was finished"


@simulated
async def test_replays_of_a_handler_of_lists_run_one_event_at_a_time_after_three_deaths() -> None:
    """Also the first call of a key whose first event has not failed."""
    async with open_rig(takes_lists=True) as rig:
        await crash(rig, 3)
        await rig.defer(1, 2, 3, attempts=0)
        await rig.replay()
        assert rig.lists == [[1], [2], [3]]


@simulated
async def test_replays_run_side_by_side_after_two_deaths() -> None:
    async with open_rig() as rig:
        await crash(rig, 2)
        assert await at_once(rig) == 2


@simulated
async def test_deaths_stay_recorded_while_no_event_of_the_key_is_finished() -> None:
    """The event that ends its process may still be in the list."""
    async with open_rig() as rig:
        rig.errors[1] = DependencyUnavailableError("down")
        await crash(rig, 2)
        await rig.defer(1)
        await rig.replay()
        assert await recorded(rig) == [dead(0), dead(1)]


@simulated
async def test_deferred_event_alone_at_two_deaths_is_poisoned() -> None:
    """Its key continues, and other keys are not blamed."""
    async with open_rig() as rig:
        await crash(rig, 3)
        for number in range(2):
            await rig.crash_store.begin(SOURCE, dead(number), position_of(event(1)))
            await asyncio.sleep(2)  # the next run follows the death, and its pause
        await rig.defer(1, 3)
        await rig.defer(2, key="other")
        await rig.replay("k", "other")
        assert rig.poisoned == [1]
        assert sorted(rig.handled) == [2, 3]
        (message,) = rig.poison.messages
        assert message.error.type.endswith("CrashLoopError")


@simulated
async def test_shutdown_ends_the_record_of_a_replay() -> None:
    """The platform may kill the process before the call ends."""
    async with open_rig() as rig:
        started, release = asyncio.Event(), asyncio.Event()

        async def handle(_each: Event) -> None:
            started.set()
            await release.wait()

        rig.before = handle
        await rig.defer(1)
        replaying = asyncio.create_task(rig.replay())
        await started.wait()
        assert await recorded(rig) == [THIS]
        rig.crashes.stop()
        await asyncio.sleep(0.1)
        assert await recorded(rig) == []
        release.set()
        await replaying
