"""Work of several pipelines side by side, so that none waits for another one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

type Work = Callable[[], Awaitable[int]]


async def rounds(works: Sequence[Work], pause_seconds: float) -> int:
    """Run each work once; while the first round of one still runs, the others run again.

    A timer's function runs once at a time. If one pipeline needs a minute for its round, the other
    pipelines still get their rounds in that minute, inside the same invocation.

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
    left = len(works)
    ended = asyncio.Event()
    errors: list[Exception] = []

    async def repeated(work: Work) -> int:
        nonlocal left
        total = 0
        is_first = True
        while is_first or not ended.is_set():
            try:
                total += await work()
            except Exception as error:
                errors.append(error)
            if is_first:
                is_first, left = False, left - 1
                if not left:
                    ended.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), pause_seconds)
        return total

    totals = await asyncio.gather(*map(repeated, works))
    if errors:
        raise errors[0] if len(errors) == 1 else ExceptionGroup("several pipelines failed", errors)
    return sum(totals)
