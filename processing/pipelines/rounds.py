"""Work of several pipelines side by side, so that none waits for another one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

type Work = Callable[[], Awaitable[int]]


async def rounds(works: Sequence[Work], pause_seconds: float) -> int:
    """Run each work once; while a round of one still runs, the others run again.

    A timer's function runs once at a time. If one pipeline needs a minute for its round, the other
    pipelines still get their rounds in that minute, inside the same invocation. Rounds that begin
    after the end of all first rounds do not prolong it: otherwise several pipelines could keep it
    alive in turn until it is over its limit.

    Args:
        works: the work of each pipeline, which returns a number.
        pause_seconds: pause between two rounds of one work, as between two runs of the timer.

    Returns:
        The sum of the numbers.

    Raises:
        Exception: the error of the only work that failed.
        ExceptionGroup: the errors of several works.
    """
    if len(works) == 1:
        return await works[0]()
    first = len(works)  # number of first rounds that have not ended
    awaited = 0  # number of running rounds that began before the end of all first rounds
    ended = asyncio.Event()
    errors: list[Exception] = []

    async def repeated(work: Work) -> int:
        nonlocal first, awaited
        total = 0
        is_first = True
        while is_first or not ended.is_set():
            prolongs = first > 0
            awaited += prolongs
            try:
                total += await work()
            except Exception as error:
                errors.append(error)
            first, is_first = first - is_first, False
            awaited -= prolongs
            if not (first or awaited):
                ended.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), pause_seconds)
        return total

    totals = await asyncio.gather(*map(repeated, works))
    if errors:
        raise errors[0] if len(errors) == 1 else ExceptionGroup("several pipelines failed", errors)
    return sum(totals)
