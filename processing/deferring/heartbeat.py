"""The heartbeat of the timer that replays deferred keys, which every instance can read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

LIFETIME_SECONDS = 24 * 3600
"""Time after which a heartbeat is forgotten."""


class Heartbeat(Protocol):
    """The time of the last successful run of the timer, on any instance.

    Each method raises `StorageUnavailableError` if the store does not answer.
    """

    async def beat(self) -> None:
        """Record a successful run."""
        ...

    async def age(self) -> float | None:
        """Return the seconds since the last successful run; None: none in a day."""
        ...


class MemoryHeartbeat:
    """A heartbeat in memory.

    Args:
        clock: returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at: float | None = None

    async def beat(self) -> None:
        """See `Heartbeat.beat`."""
        await asyncio.sleep(0)
        self._at = self._clock()

    async def age(self) -> float | None:
        """See `Heartbeat.age`."""
        await asyncio.sleep(0)
        age = None if self._at is None else self._clock() - self._at
        return None if age is None or age >= LIFETIME_SECONDS else age
