"""What the instances of the console agree on: who does a job, who watches, how often was tried."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

READER = "reader"
"""Lease of the one instance that reads the hub, the checkpoints and the app's vitals for all."""


class CoordinationError(Exception):
    """Whoever keeps the leases did not answer."""


class Coordination(Protocol):
    """Leases, marks and counters that run out by themselves. Names are the caller's.

    Each method raises `CoordinationError` when it is not done.
    """

    async def take(self, lease: str, token: str, seconds: float) -> bool:
        """Take a lease, or hold it longer; False: it is somebody else's."""
        ...

    async def give_back(self, lease: str, token: str) -> None:
        """Give a lease back, if it is still this token's."""
        ...

    async def holder(self, lease: str) -> str:
        """Whose a lease or mark is, or ""."""
        ...

    async def mark(self, name: str, seconds: float) -> None:
        """Say that something is so, for a while."""
        ...

    async def count(self, name: str, seconds: int) -> int:
        """Count one more, in a time that began with the first; the count."""
        ...

    async def counted(self, name: str) -> int:
        """The count so far."""
        ...


class MemoryCoordination:
    """For the instances within one process; the twin of the Redis one.

    Args:
        clock: seconds that only rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[str, float]] = {}
        self._counts: dict[str, tuple[int, float]] = {}

    async def take(self, lease: str, token: str, seconds: float) -> bool:
        """See `Coordination.take`."""
        if await self.holder(lease) not in {"", token}:
            return False
        self._kept[lease] = (token, self._clock() + seconds)
        return True

    async def give_back(self, lease: str, token: str) -> None:
        """See `Coordination.give_back`."""
        if await self.holder(lease) == token:
            del self._kept[lease]

    async def holder(self, lease: str) -> str:
        """See `Coordination.holder`."""
        token, until = self._kept.get(lease, ("", 0.0))
        return token if self._clock() < until else ""

    async def mark(self, name: str, seconds: float) -> None:
        """See `Coordination.mark`."""
        self._kept[name] = ("1", self._clock() + seconds)

    async def count(self, name: str, seconds: int) -> int:
        """See `Coordination.count`."""
        now = self._clock()
        self._counts = {key: value for key, value in self._counts.items() if now < value[1]}
        count, until = self._counts.get(name, (0, now + seconds))
        self._counts[name] = (count + 1, until)
        return count + 1

    async def counted(self, name: str) -> int:
        """See `Coordination.counted`."""
        count, until = self._counts.get(name, (0, 0.0))
        return count if self._clock() < until else 0
