"""Leases, marks and counters that the console's instances share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

READER = "reader"
"""Lease of the one instance that reads the hub, the checkpoints and the app's vitals for all."""


MEMBERS_MAX = 10_000


class Coordination(Protocol):
    """Shared leases, marks, counters and sets, each with a name; all of them expire.

    Each method raises `CoordinationError` when the store fails or does not answer in time.
    """

    async def acquire(self, lease: str, token: str, seconds: float) -> bool:
        """Acquire or renew a lease; return False if another token holds the lease."""
        ...

    async def release(self, lease: str, token: str) -> None:
        """Release a lease, if this token still holds the lease."""
        ...

    async def holder(self, lease: str) -> str:
        """Return the token of a lease or mark, or ""."""
        ...

    async def mark(self, name: str, seconds: float) -> None:
        """Set a mark that expires after these seconds."""
        ...

    async def increment(self, name: str, seconds: int) -> int:
        """Increment a counter, which expires these seconds after its start; return the count."""
        ...

    async def reset(self, name: str) -> None:
        """Reset a counter."""
        ...

    async def add(self, name: str, item: str, until: float) -> None:
        """Add an item to a set until a time (seconds since 1970); keep at most `MEMBERS_MAX`."""
        ...

    async def members(self, name: str) -> dict[str, float]:
        """Return the set's items, each with the time when the item expires."""
        ...


class MemoryCoordination:
    """Coordination in memory, for instances within one process.

    Args:
        clock: monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[str, float]] = {}
        self._counts: dict[str, tuple[int, float]] = {}
        self._full = 1_000
        self._sets: dict[str, dict[str, float]] = {}

    async def acquire(self, lease: str, token: str, seconds: float) -> bool:
        """See `Coordination.acquire`."""
        if await self.holder(lease) not in {"", token}:
            return False
        self._kept[lease] = (token, self._clock() + seconds)
        return True

    async def release(self, lease: str, token: str) -> None:
        """See `Coordination.release`."""
        if await self.holder(lease) == token:
            del self._kept[lease]

    async def holder(self, lease: str) -> str:
        """See `Coordination.holder`."""
        token, until = self._kept.get(lease, ("", 0.0))
        return token if self._clock() < until else ""

    async def mark(self, name: str, seconds: float) -> None:
        """See `Coordination.mark`."""
        self._kept[name] = ("1", self._clock() + seconds)

    async def increment(self, name: str, seconds: int) -> int:
        """See `Coordination.increment`."""
        now = self._clock()
        if len(self._counts) >= self._full:  # rarely, so that the cleanup is cheap
            self._counts = {key: value for key, value in self._counts.items() if now < value[1]}
            self._full = max(1_000, 2 * len(self._counts))
        count, until = self._counts.get(name, (0, 0.0))
        if now >= until:
            count, until = 0, now + seconds
        self._counts[name] = (count + 1, until)
        return count + 1

    async def reset(self, name: str) -> None:
        """See `Coordination.reset`."""
        self._counts.pop(name, None)

    async def add(self, name: str, item: str, until: float) -> None:
        """See `Coordination.add`."""
        items = await self.members(name) | {item: until}
        self._sets[name] = dict(sorted(items.items(), key=lambda each: each[1])[-MEMBERS_MAX:])

    async def members(self, name: str) -> dict[str, float]:
        """See `Coordination.members`."""
        now = time.time()
        found = self._sets.get(name, {})
        return {item: until for item, until in found.items() if now < until}
