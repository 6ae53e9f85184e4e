"""Renewing what is held for as long as it is held: a key's lease, or messages of the queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def renewed(renew: Callable[[], Awaitable[bool]], seconds: float) -> AsyncIterator[None]:
    """Call `renew` three times in each `seconds` until the block ends or `renew` returns False."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(seconds / 3)
            if not await renew():
                return

    renewing = asyncio.create_task(keep())
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
