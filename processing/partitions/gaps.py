"""Gaps: events that the hub's retention removed before the app has handled them.

A gap is recorded once, by the instance that records the gap first, however often the batch after
the gap is delivered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from processing.identity import Source

MOST_GAPS = 20
"""Greatest number of gaps of a partition that are kept; the oldest gap is removed first."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that expired before the app has handled them.

    Attributes:
        first: sequence number of the first event of the gap.
        last: sequence number of the last event of the gap.
        seen_ms: time at which the gap was recorded, milliseconds since 1970 by the store's clock.
        handled: number of events between `first` and `last` that the app has handled.
        created_ms: time at which the hub was created, milliseconds since 1970.
    """

    first: int
    last: int
    seen_ms: int
    handled: int = 0
    created_ms: int = 0

    @property
    def events(self) -> int:
        """Number of events that expired unhandled."""
        return self.last - self.first + 1 - self.handled


class GapStore(Protocol):
    """A store of gaps. Each method raises `StorageUnavailableError` if the store fails."""

    async def record(
        self, source: Source, first: int, last: int, *, created_ms: int, handled: Collection[int]
    ) -> Gap | None:
        """Record the gap from `first` to `last`, without the events of earlier gaps of the hub.

        Args:
            source: the partition.
            first: sequence number of the first expired event.
            last: sequence number of the last expired event.
            created_ms: time at which the hub was created, milliseconds since 1970. Gaps of a hub
                that was deleted do not count as earlier gaps.
            handled: sequence numbers of events that the app has handled.

        Returns:
            The gap that this call has recorded; None: each event of the gap is recorded or handled.
        """
        ...

    async def gaps(self, source: Source) -> list[Gap]:
        """Return a partition's gaps, the latest gap first."""
        ...


class MemoryGapStore:
    """A store of gaps in a dictionary, lost with the process.

    Args:
        now_ms: returns the time in milliseconds since 1970.
    """

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._now_ms = now_ms
        self._known: dict[Source, list[Gap]] = {}

    async def record(
        self, source: Source, first: int, last: int, *, created_ms: int, handled: Collection[int]
    ) -> Gap | None:
        """See `GapStore.record`."""
        await asyncio.sleep(0)
        known = self._known.get(source, [])
        for each in known:
            if each.created_ms == created_ms:
                first = max(first, each.last + 1)
        among = sum(first <= number <= last for number in handled)
        gap = Gap(first, last, self._now_ms(), among, created_ms)
        if gap.events <= 0:
            return None
        self._known[source] = [gap, *known][:MOST_GAPS]
        return gap

    async def gaps(self, source: Source) -> list[Gap]:
        """See `GapStore.gaps`."""
        await asyncio.sleep(0)
        return list(self._known.get(source, ()))
