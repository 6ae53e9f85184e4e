"""Calls made side by side, a bounded number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

AT_ONCE = 16
"""Number of calls to the queue that one operation makes at the same time."""
ANSWER_SECONDS = 0.4
"""Time in which an interrupted operation waits for the answers on their way."""


async def side_by_side[T](
    items: Iterable[T],
    call: Callable[[T], Awaitable[object]],
    *,
    most: int = AT_ONCE,
    goes_on: Callable[[], bool] = lambda: True,
) -> None:
    """Call a function with each item; the first error ends all calls and is raised.

    Args:
        items: the items.
        call: the function.
        most: most calls that run at the same time.
        goes_on: returns whether to make another call.
    """
    waiting = iter(items)

    async def work() -> None:
        while goes_on():
            for item in waiting:
                await call(item)
                break
            else:
                return

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(most):
                group.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def with_late_answers(calls: Coroutine[Any, Any, None], stop: Callable[[], None]) -> None:
    """Await calls to the queue; an interruption lets those on their way finish.

    A lost answer would leave a message with a receipt that nobody knows.

    Args:
        calls: the calls.
        stop: called after an interruption, so that no other call is made.
    """
    task = asyncio.create_task(calls)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        stop()
        await asyncio.wait([task], timeout=ANSWER_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
