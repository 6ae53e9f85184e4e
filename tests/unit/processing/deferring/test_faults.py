"""Replays under faults: a poison queue that is away, odd errors, and calls that hang."""

from __future__ import annotations

import asyncio

from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event
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
        await _defer_keys(rig, 1000)
        for _ in range(4):
            await rig.replayer.run_due(4)
            await asyncio.sleep(1)
        assert len(rig.handled) == 999
