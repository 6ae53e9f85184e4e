"""Grouping of many requests into few calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from processing.handlers.group_calls import GroupedCalls


class Calls(list[list[int]]):
    """A call that doubles numbers, records its items, and waits until its gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.append(list(items))
        await self.gate.wait()
        return [ValueError(item) if item < 0 else item * 2 for item in items]


async def test_requests_during_a_call_share_the_next_call() -> None:
    """Requests that are submitted at the same time share a call as well."""
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


async def test_size_of_a_call_is_bounded() -> None:
    """No call carries more than `most` items, and the order is kept."""
    calls = Calls()
    calls.gate.set()
    grouping = GroupedCalls(calls, most=2)
    assert await asyncio.gather(*(grouping.submit(n) for n in range(5))) == [0, 2, 4, 6, 8]
    assert calls == [[0, 1], [2, 3], [4]]


async def test_error_reply_is_raised_to_its_request_only() -> None:
    """The other requests of the call get their replies."""
    calls = Calls()
    calls.gate.set()
    grouping = GroupedCalls(calls)
    good, bad = await asyncio.gather(
        grouping.submit(1), grouping.submit(-1), return_exceptions=True
    )
    assert good == 2
    assert isinstance(bad, ValueError)


async def test_failed_call_fails_all_its_requests() -> None:
    """The next call is not affected."""
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


async def test_cancelled_request_does_not_affect_the_others() -> None:
    """The other request of the same call gets its reply."""
    calls = Calls()
    grouping = GroupedCalls(calls)
    cancelled, other = (asyncio.create_task(grouping.submit(n)) for n in (1, 2))
    while not calls:
        await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    calls.gate.set()
    assert await other == 4
