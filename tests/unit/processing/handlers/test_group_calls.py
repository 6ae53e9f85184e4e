"""GroupedCalls: many requests, few calls, each its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from processing.handlers.group_calls import GroupedCalls


class Calls(list[list[int]]):
    """Doubles numbers; records each call, and waits until it is let through."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.append(list(items))
        await self.gate.wait()
        return [ValueError(item) if item < 0 else item * 2 for item in items]


async def test_requests_during_a_call_share_the_next() -> None:
    """What is asked for at the same time, or while a call is under way, goes together."""
    calls = Calls()
    grouping = GroupedCalls(calls)
    first = [asyncio.create_task(grouping.submit(n)) for n in (1, 2)]
    while not calls:
        await asyncio.sleep(0)
    later = [asyncio.create_task(grouping.submit(n)) for n in (3, 4, 5)]
    await asyncio.sleep(0)
    calls.gate.set()
    assert await asyncio.gather(*first, *later) == [2, 4, 6, 8, 10]
    assert calls == [[1, 2], [3, 4, 5]]


async def test_size_is_bounded() -> None:
    """No call carries more than `most` items, and order is kept."""
    calls = Calls()
    calls.gate.set()
    grouping = GroupedCalls(calls, most=2)
    assert await asyncio.gather(*(grouping.submit(n) for n in range(5))) == [0, 2, 4, 6, 8]
    assert calls == [[0, 1], [2, 3], [4]]


async def test_an_error_is_its_askers_only() -> None:
    """A reply that is an exception is raised to whom it belongs."""
    calls = Calls()
    calls.gate.set()
    grouping = GroupedCalls(calls)
    good, bad = await asyncio.gather(
        grouping.submit(1), grouping.submit(-1), return_exceptions=True
    )
    assert good == 2
    assert isinstance(bad, ValueError)


async def test_a_failed_call_fails_all_of_it() -> None:
    """An exception of the call is everybody's, and the next call is unharmed."""
    failing = True

    async def call(items: Sequence[int]) -> list[int | Exception]:
        if failing:
            raise ConnectionError("gone")
        return list(items)

    grouping = GroupedCalls(call)
    found = await asyncio.gather(grouping.submit(1), grouping.submit(2), return_exceptions=True)
    assert all(isinstance(each, ConnectionError) for each in found)
    failing = False
    assert await grouping.submit(3) == 3


async def test_a_cancelled_asker_harms_nobody() -> None:
    """Whoever waits beside a cancelled task gets its answer."""
    calls = Calls()
    grouping = GroupedCalls(calls)
    gone, stays = (asyncio.create_task(grouping.submit(n)) for n in (1, 2))
    while not calls:
        await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    calls.gate.set()
    assert await stays == 4
