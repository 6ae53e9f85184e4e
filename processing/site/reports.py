"""The reports of the app's instances: who reports, and when an event was first handled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from processing.monitoring.vitals import VitalsEntry
from processing.site.statement import Reports

KEPT_SECONDS = 3_600.0
PASSES = 20
"""Most reads of one call, in case that entries arrive as fast as they are read."""


class EntrySource(Protocol):
    """A source of the entries that the app's instances write."""

    async def behind(self, cursor: str) -> Sequence[VitalsEntry]:
        """Return the entries after a cursor, oldest first; empty at the end.

        Raises:
            StorageUnavailableError: the source cannot be read.
        """
        ...


class ReportLog:
    """The reports of the last hour, read from the vitals and kept in this process.

    Args:
        source: the vitals.
        now: returns the time, seconds since the epoch.
    """

    def __init__(self, source: EntrySource, now: Callable[[], float]) -> None:
        self._source = source
        self._now = now
        self._cursor = ""
        self._last: dict[str, float] = {}
        self._known_since: float | None = None
        self._handled: deque[float] = deque(maxlen=int(KEPT_SECONDS))
        self._first: tuple[float, float] | None = None
        self._lock = asyncio.Lock()

    async def read(self, started_at: float | None) -> Reports:
        """Read the new entries and return what is known.

        Args:
            started_at: time of the start whose first handled event is wanted; None without a start.

        Raises:
            StorageUnavailableError: the vitals cannot be read.
        """
        async with self._lock:
            oldest = self._now() - KEPT_SECONDS
            self._cursor = self._cursor or f"{int(oldest * 1000)}-0"
            for _ in range(PASSES):
                entries = await self._source.behind(self._cursor)
                if not entries:
                    break
                for entry in entries:
                    self._add(entry)
                self._cursor = entries[-1].cursor
            self._last = {name: at for name, at in self._last.items() if at >= oldest}
            return Reports(
                last=tuple(sorted(self._last.items())),
                known_since=self._known_since,
                first_handled_at=None if started_at is None else self._first_after(started_at),
            )

    def _add(self, entry: VitalsEntry) -> None:
        if self._known_since is None:
            self._known_since = entry.at
        self._last[entry.instance] = entry.at
        handled = int(entry.numbers.get("handled", 0)) > 0
        # One time for each second is enough, and bounds the list.
        if handled and (not self._handled or entry.at - self._handled[-1] >= 1):
            self._handled.append(entry.at)

    def _first_after(self, started_at: float) -> float | None:
        if self._first is None or self._first[0] != started_at:
            found = next((at for at in self._handled if at > started_at), None)
            if found is None:
                return None
            self._first = (started_at, found)
        return self._first[1]
