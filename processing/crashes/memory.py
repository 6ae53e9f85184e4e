"""The in-memory store of crash loops, for unit tests and experiments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from processing.crashes.process import ProcessName
from processing.crashes.records import AloneRun, LastSeen
from processing.crashes.store import FORGET_SECONDS, MOST_PROCESSES, SILENT_SECONDS
from processing.identity import Source
from processing.parking.event import ListKey, Position
from processing.parking.memory import MemoryParkingStore

MOST_RUNS = 20
"""Greatest number of runs of one partition that are kept."""


class MemoryCrashStore:
    """A store of crash loops in memory.

    Args:
        parking: the store whose claims record the openings.
        clock: returns seconds since 1970.
    """

    def __init__(self, parking: MemoryParkingStore, clock: Callable[[], float] = time.time) -> None:
        self._parking = parking
        self._clock = clock
        self._runs: dict[Source, list[AloneRun]] = {}
        self._replays: dict[tuple[Source, ListKey], list[ProcessName]] = {}
        self._beats: dict[ProcessName, float] = {}
        self._found_dead: dict[ProcessName, float] = {}

    async def close(self, source: Source, process: ProcessName) -> None:
        """See `CrashStore.close`."""
        await asyncio.sleep(0)
        self._parking.close_opening(source, str(process))

    async def runs(self, source: Source, position: Position) -> Sequence[AloneRun]:
        """See `CrashStore.runs`."""
        await asyncio.sleep(0)
        return [run for run in self._runs.get(source, []) if run.position == position]

    async def begin(self, source: Source, process: ProcessName, position: Position) -> None:
        """See `CrashStore.begin`."""
        await asyncio.sleep(0)
        now = self._now_us()
        others = self._others(source, process)
        self._runs[source] = [*others, AloneRun(position, process, now, now)][-MOST_RUNS:]

    async def still_runs(self, source: Source, process: ProcessName, position: Position) -> None:
        """See `CrashStore.still_runs`."""
        await asyncio.sleep(0)
        now = self._now_us()
        self._runs[source] = [
            replace(run, alive=now) if (run.process, run.position) == (process, position) else run
            for run in self._runs.get(source, [])
        ]

    async def end(self, source: Source, process: ProcessName, position: Position = "") -> None:
        """See `CrashStore.end`."""
        await asyncio.sleep(0)
        others = self._others(source, process)
        self._runs[source] = [run for run in others if run.position != position]

    async def forget(self, source: Source, position: Position) -> None:
        """See `CrashStore.forget`."""
        await asyncio.sleep(0)
        self._runs[source] = [run for run in self._runs.get(source, []) if run.position != position]

    async def open_replay(
        self, source: Source, key: ListKey, process: ProcessName
    ) -> Sequence[ProcessName]:
        """See `CrashStore.open_replay`."""
        await asyncio.sleep(0)
        others = [each for each in self._replays.get((source, key), []) if each != process]
        self._replays[source, key] = [*others, process][-MOST_RUNS:]
        return others

    async def close_replay(
        self, source: Source, key: ListKey, process: ProcessName, *, moved: bool
    ) -> None:
        """See `CrashStore.close_replay`."""
        await asyncio.sleep(0)
        known = self._replays.pop((source, key), [])
        if not moved:
            self._replays[source, key] = [each for each in known if each != process]

    async def beat(self, process: ProcessName) -> None:
        """See `CrashStore.beat`."""
        await asyncio.sleep(0)
        now = self._clock()
        others = {each: min(at, now) for each, at in self._beats.items() if each != process}
        self._beats = self._kept(others | {process: now})
        self._found_dead.pop(process, None)

    async def found_dead(self, processes: Collection[ProcessName]) -> None:
        """See `CrashStore.found_dead`."""
        await asyncio.sleep(0)
        now = self._clock()
        self._found_dead = self._kept(dict.fromkeys(processes, now) | self._found_dead)

    async def last_seen(self, first: int, last: int, *, found_dead_before: int) -> LastSeen:
        """See `CrashStore.last_seen`."""
        await asyncio.sleep(0)
        left_out = {each for each, at in self._found_dead.items() if _us(at) < found_dead_before}
        found = [each for each, at in self._beats.items() if first <= _us(at) <= last]
        return LastSeen(self._now_us(), [each for each in found if each not in left_out])

    async def is_silent(self, process: ProcessName) -> bool:
        """See `CrashStore.is_silent`."""
        await asyncio.sleep(0)
        last = self._beats.get(process)
        return last is None or self._clock() - last >= SILENT_SECONDS

    async def leave(self, process: ProcessName) -> None:
        """See `CrashStore.leave`."""
        await asyncio.sleep(0)
        self._beats.pop(process, None)

    def _others(self, source: Source, process: ProcessName) -> list[AloneRun]:
        return [run for run in self._runs.get(source, []) if run.process != process]

    def _kept(self, times: dict[ProcessName, float]) -> dict[ProcessName, float]:
        """Return the latest times that a store keeps."""
        oldest = self._clock() - FORGET_SECONDS
        latest = sorted(times.items(), key=lambda each: each[1])[-MOST_PROCESSES:]
        return {each: at for each, at in latest if at > oldest}

    def _now_us(self) -> int:
        return _us(self._clock())


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
