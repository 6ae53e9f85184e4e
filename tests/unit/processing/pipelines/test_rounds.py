"""Rounds of several pipelines: none waits for another one, and each error is reported."""

from __future__ import annotations

import asyncio

import pytest

from processing.pipelines.rounds import rounds
from tests.support.processing.replay_rig import simulated


async def test_work_of_one_runs_again_while_another_still_runs() -> None:
    """A replay of a minute in one pipeline delays no replay of the others."""
    third = asyncio.Event()
    calls = 0

    async def slow() -> int:
        await third.wait()
        return 100

    async def quick() -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            third.set()
        return 1

    async with asyncio.timeout(60):
        assert await rounds([slow, quick], 0) >= 103


@simulated
async def test_work_runs_again_while_a_later_round_of_another_runs() -> None:
    """Such as a second round in which a handler starts; rounds that begin then prolong nothing."""
    starts: list[list[float]] = [[], []]

    async def work(number: int, *seconds: float) -> int:
        starts[number].append(asyncio.get_running_loop().time())
        await asyncio.sleep(seconds[min(len(starts[number]), len(seconds)) - 1])
        return 1

    assert await rounds([lambda: work(0, 6.5, 2.0), lambda: work(1, 0.1, 60.0)], 5.0) == 11
    assert starts[1] == [0, 5.1]
    assert starts[0] == [0, *(11.5 + 7 * number for number in range(8))]
    assert asyncio.get_running_loop().time() == 65.1


async def test_rounds_end_when_each_work_has_had_one() -> None:
    """Two slow works must not keep the invocation alive in turn until it is over its limit."""
    calls = [0, 0]

    async def work(number: int) -> int:
        calls[number] += 1
        await asyncio.sleep(0)
        return 1

    async with asyncio.timeout(60):
        assert await rounds([lambda: work(0), lambda: work(1)], 60) == 2
    assert calls == [1, 1]


async def test_error_of_one_is_raised_after_the_others_have_ended() -> None:
    ended = []

    async def fails() -> int:
        raise LookupError("orders")

    async def works() -> int:
        await asyncio.sleep(0)
        ended.append("audit")
        return 1

    with pytest.raises(LookupError, match="orders"):
        await rounds([fails, works], 60)
    assert ended == ["audit"]
    with pytest.raises(ExceptionGroup, match="several pipelines failed"):
        await rounds([fails, works, fails], 60)


async def test_only_pipeline_has_one_round() -> None:
    async def work() -> int:
        return 7

    assert await rounds([work], 0) == 7


async def test_cancellation_ends_all_rounds() -> None:
    """The platform cancels the function when the process ends."""
    ended = []

    async def waits() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)
        return 0

    task = asyncio.create_task(rounds([waits, waits], 60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert ended == [1, 1]
