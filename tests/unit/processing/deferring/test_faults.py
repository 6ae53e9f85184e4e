"""Replays under faults: a poison queue that is away, odd errors, and calls that hang."""

from __future__ import annotations

import asyncio

from processing.errors import (
    DependencyUnavailableError,
    PoisonEventError,
    StorageUnavailableError,
)
from processing.event import Event
from processing.parking.store import EntryKind
from tests.support.processing.replay_rig import Rig, open_rig, simulated


@simulated
async def test_unexpected_error_of_a_store_does_not_repeat_the_handler_at_once() -> None:
    """The next replay is due after a pause, as after any other failure."""
    async with open_rig() as rig:
        rig.errors[1] = PoisonEventError("bad")
        await rig.defer(1)

        async def broken(_message: object) -> None:
            raise ValueError("cannot be stored")

        rig.poison.put = broken  # type: ignore[method-assign, assignment]
        for _ in range(10):
            await rig.replayer.run_due(4)
        assert len(rig.started) == 1


async def _defer_keys(rig: Rig, count: int) -> None:
    for number in range(count):
        await rig.defer(number, key=f"k{number:04d}")


@simulated
async def test_one_hanging_call_does_not_delay_other_keys() -> None:
    """The timer continues with other due keys while one call hangs."""
    async with open_rig() as rig:

        async def wait(each: Event) -> None:
            if each.sequence_number == 0:
                await asyncio.sleep(60)
                raise DependencyUnavailableError("down")
            await asyncio.sleep(0.01)

        rig.before = wait
        await _defer_keys(rig, 300)
        for _ in range(4):
            await rig.replayer.run_due(4)
            await asyncio.sleep(1)
        assert len(rig.handled) == 299


@simulated
async def test_stop_during_a_replay_ends_it_after_its_event() -> None:
    """The event in flight finishes, the next one does not start, and the lease is given back."""
    async with open_rig() as rig:
        rig.before = lambda _each: asyncio.sleep(10)
        await rig.defer(1, 2)
        running = asyncio.create_task(rig.replayer.run_due(60))
        await asyncio.sleep(5)
        rig.replayer.stop()
        await running
        await rig.replayer.wait_idle()
        assert rig.handled == [1]
        assert await rig.waiting() == [(EntryKind.EVENT, 2)]
        assert not rig.store._leases
        assert len(asyncio.all_tasks()) <= 5  # this one, and two that watch the circuits each


@simulated
async def test_stop_during_a_pause_of_a_replay_leaves_the_event() -> None:
    """A pause between two attempts ends at once; the event is neither poisoned nor finished."""
    async with open_rig(retry_initial_seconds=30.0, retry_max_seconds=60.0) as rig:
        rig.errors[1] = LookupError("x")
        await rig.defer(1)
        running = asyncio.create_task(rig.replayer.run_due(60))
        await asyncio.sleep(5)
        began = asyncio.get_running_loop().time()
        rig.replayer.stop()
        await running
        await rig.replayer.wait_idle()
        assert asyncio.get_running_loop().time() - began < 1
        assert (rig.poisoned, len(rig.started)) == ([], 1)
        assert await rig.waiting() == [(EntryKind.EVENT, 1)]
        assert not rig.store._leases


@simulated
async def test_key_does_not_wait_for_a_lease_of_before_an_outage() -> None:
    """The replay that the store ended gives its lease back when the store answers again."""
    async with open_rig(hold_seconds=10.0) as rig:
        names = ("finish", "postpone", "release", "renew")
        answering = {name: getattr(rig.store, name) for name in names}

        async def away(*_args: object, **_options: object) -> None:
            raise StorageUnavailableError("away")

        async def lose(_event: Event) -> None:
            for name in names:
                setattr(rig.store, name, away)

        rig.before = lose
        await rig.defer(1)
        await rig.replayer.run_due(60)
        await rig.replayer.wait_idle()
        assert rig.store._leases
        rig.before = None
        for name, method in answering.items():
            setattr(rig.store, name, method)
        await asyncio.sleep(2)
        assert not rig.store._leases
        await rig.replayer.run_due(4)
        assert (rig.handled, await rig.waiting()) == ([1, 1], [])


@simulated
async def test_stop_leaves_the_leases_of_an_outage_to_expire() -> None:
    """A stopping instance leaves no task behind, and waits for no store."""
    async with open_rig() as rig:

        async def away(*_args: object) -> None:
            raise StorageUnavailableError("away")

        rig.store.release = away  # type: ignore[method-assign, assignment]
        await rig.defer(1)
        await rig.replayer.run_due(4)
        await rig.replayer.wait_idle()
        tasks = asyncio.all_tasks()
        rig.replayer.stop()
        await asyncio.sleep(0)
        assert len(tasks - asyncio.all_tasks()) == 1
