"""Periodic renewal of a key's lease, or of the visibility timeouts of messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def renewed(renew: Callable[[], Awaitable[bool]], seconds: float) -> AsyncIterator[None]:
    """Call `renew` every third of `seconds` until the block ends or `renew` returns False."""

    async def renew_periodically() -> None:
        while True:
            await asyncio.sleep(seconds / 3)
            if not await renew():
                return

    renewing = asyncio.create_task(renew_periodically())
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
