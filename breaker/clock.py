"""Time as something that is handed in, so that tests advance it instead of waiting."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

NowUs = Callable[[], int]
"""Microseconds since the epoch by the clock of a store."""


def system_now_us() -> int:
    """This machine's wall clock, in microseconds since the epoch."""
    return time.time_ns() // 1000


class Clock(Protocol):
    """Elapsed time and sleeping; never compared between processes."""

    def monotonic(self) -> float:
        """Seconds that only rise."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """The real one."""

    def monotonic(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to; serves as store clock (`now_us`) as well."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now_us = round(start * 1_000_000)
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return self._now_us

    def monotonic(self) -> float:
        """The same clock in seconds."""
        return self._now_us / 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was advanced by `seconds`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        at = self._now_us + round(seconds * 1_000_000)
        heapq.heappush(self._sleepers, (at, next(self._order), wake))
        await wake

    @property
    def sleeping(self) -> int:
        """How many tasks are asleep on this clock."""
        return sum(not wake.done() for _, _, wake in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Move the clock and wake whoever slept until then."""
        self._now_us += round(seconds * 1_000_000)
        while self._sleepers and self._sleepers[0][0] <= self._now_us:
            wake = heapq.heappop(self._sleepers)[2]
            if not wake.done():
                wake.set_result(None)
