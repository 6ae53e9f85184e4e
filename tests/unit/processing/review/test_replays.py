"""Replays under faults: a poison queue that is away, odd errors, and calls that hang."""

from __future__ import annotations

import asyncio
from typing import Any

from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event
from tests.support.processing.replay_rig import Rig, open_rig, simulated


<<<<<<< HEAD
@pytest.mark.xfail(strict=True, reason="nothing announces it; see /tmp/h/review_found.md, 1")
@simulated
async def test_unannounced_poison_of_replay_reaches_the_queue() -> None:
    """Under `park` the list is written first; nothing else would ever send the message."""
    async with open_rig(poison_ordering="park", hold_seconds=5) as rig:
        rig.errors[1] = PoisonEventError("bad")
        await rig.defer(1, 2)
        put: Any = rig.poison.put

        async def away(_message: object) -> None:
            raise StorageUnavailableError("the queue is away")

        rig.poison.put = away  # type: ignore[method-assign, assignment]
        await rig.replay()
        assert await rig.waiting() == [(EntryKind.UNANNOUNCED, 1), (EntryKind.EVENT, 2)]
        rig.poison.put = put  # type: ignore[method-assign]
        for _ in range(20):
            await asyncio.sleep(60)
            await rig.replayer.run_due(4)
        assert rig.poisoned == [1]


=======
>>>>>>> e5dbc640fe992441f973af57454614b3a9816858
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
        await _defer_keys(rig, 1000)
        for _ in range(4):
            await rig.replayer.run_due(4)
            await asyncio.sleep(1)
        assert len(rig.handled) == 999
