"""The store of crash loops: ended openings, events that run alone, and signs of life.

The claim on a partition records its opening (`processing/parking/scripts/claim.lua`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from processing.crashes.process import ProcessName
from processing.crashes.records import AloneRun, LastSeen
from processing.identity import Source
from processing.parking.event import ListKey, Position

SILENT_SECONDS = 15.0
"""Time without a heartbeat after which a process on another machine counts as dead."""

FORGET_SECONDS = 24 * 3600
"""Time after which a process without a heartbeat, or found dead, is forgotten."""

MOST_PROCESSES = 300
"""Greatest number of processes whose last heartbeat is kept."""

REPLAY_TTL_SECONDS = 24 * 3600
"""Time after which a replay that did not end is forgotten."""


class CrashStore(Protocol):
    """A store of crash loops. Each method raises `StorageUnavailableError` if the store fails."""

    async def close(self, source: Source, process: ProcessName) -> None:
        """Remove a process's opening of a partition, because the invocation has ended."""
        ...

    async def runs(self, source: Source, position: Position) -> Sequence[AloneRun]:
        """Return the recorded runs of one event that did not end, the earliest first."""
        ...

    async def begin(self, source: Source, process: ProcessName, position: Position) -> None:
        """Record that an event begins to run alone in a process."""
        ...

    async def still_runs(self, source: Source, process: ProcessName, position: Position) -> None:
        """Record a sign of life of an event that runs alone."""
        ...

    async def end(self, source: Source, process: ProcessName, position: Position = "") -> None:
        """Remove a process's run; with a position, also all earlier runs of that event."""
        ...

    async def forget(self, source: Source, position: Position) -> None:
        """Remove all runs of one event, because the event has an outcome."""
        ...

    async def open_replay(
        self, source: Source, key: ListKey, process: ProcessName
    ) -> Sequence[ProcessName]:
        """Record a replay of a deferred key; return the processes whose replay did not end."""
        ...

    async def close_replay(
        self, source: Source, key: ListKey, process: ProcessName, *, moved: bool
    ) -> None:
        """Remove a process's replay of a key, because the replay has ended.

        Args:
            source: the partition.
            key: the deferred key.
            process: the process.
            moved: whether an event of the key was finished; then the replays of all processes are
                removed, because their event is behind.
        """
        ...

    async def beat(self, process: ProcessName) -> None:
        """Record that a process is alive; the record that the process was found dead ends."""
        ...

    async def found_dead(self, processes: Collection[ProcessName]) -> None:
        """Record that processes were found dead.

        The first time is kept until the process records a heartbeat.
        """
        ...

    async def last_seen(self, first: int, last: int, *, found_dead_before: int) -> LastSeen:
        """Return the processes whose last heartbeat lies between two times.

        Args:
            first: the first time, in microseconds since 1970 by the store's clock.
            last: the last time, in the same unit.
            found_dead_before: a process that was found dead before this time is left out.
        """
        ...

    async def is_silent(self, process: ProcessName) -> bool:
        """Return whether a process has not been alive for `SILENT_SECONDS`."""
        ...

    async def leave(self, process: ProcessName) -> None:
        """Forget a process that ends."""
        ...
