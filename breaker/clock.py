"""Clocks that are injected, so that tests advance the time instead of waiting."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

NowUs = Callable[[], int]
"""A store's clock: returns microseconds since the epoch."""


def system_now_us() -> int:
    """Return this machine's wall-clock time in microseconds since the epoch."""
    return time.time_ns() // 1000


class Clock(Protocol):
    """A source of elapsed time; values of different processes are never compared."""

    def monotonic(self) -> float:
        """Return seconds that never decrease."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """The clock of the machine and the event loop."""

    monotonic = staticmethod(time.monotonic)  # a call of Python's own would cost each event more

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that only `advance` moves; its `now_us` also serves as a store's clock."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now_us = round(start * 1_000_000)
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now_us(self) -> int:
        """Return the time in microseconds since the epoch."""
        return self._now_us

    def monotonic(self) -> float:
        """Return the time in seconds since the epoch."""
        return self._now_us / 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Return once the clock has been advanced by `seconds`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        at = self._now_us + round(seconds * 1_000_000)
        heapq.heappush(self._sleepers, (at, next(self._order), wake))
        await wake

    @property
    def sleeping(self) -> int:
        """Number of tasks that sleep on this clock."""
        return sum(not wake.done() for _, _, wake in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Advance the clock and wake the tasks whose sleep is over."""
        self._now_us += round(seconds * 1_000_000)
        while self._sleepers and self._sleepers[0][0] <= self._now_us:
            wake = heapq.heappop(self._sleepers)[2]
            if not wake.done():
                wake.set_result(None)
