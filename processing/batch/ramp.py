"""The ramp: after the circuit has closed, the share of lanes that may run rises step by step.

Each partition computes its own part from the time of the closing, without communication. The
fleet's permits and each fraction of a lane go to the partitions with the lowest numbers: with 32
partitions and 10 permits, partitions 0 to 9 begin with one lane each. An instance does not know the
number of partitions; it uses the greatest number that it has seen, plus one. So an instance that
owns low numbers only begins with more lanes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

STEP_SECONDS = 0.05
"""Pause between two looks at the ramp, and so the longest delay of a lane's turn."""


@dataclass(frozen=True, slots=True)
class Place:
    """A partition's place among the partitions, and the number of its lanes.

    Attributes:
        number: the partition's number, from 0.
        partitions: number of partitions.
        lanes: number of lanes that run when the ramp is over.
    """

    number: int
    partitions: int
    lanes: int


def lanes_admitted(share: float, permits: int, place: Place) -> int:
    """Return the number of a partition's lanes that may run.

    Args:
        share: elapsed part of the ramp, 0 to 1.
        permits: lanes of all partitions together at the beginning of the ramp.
        place: the partition's place.
    """
    most = place.lanes * place.partitions
    total = permits + int(max(0, most - permits) * share + 1e-6)
    return min(place.lanes, (total + place.partitions - 1 - place.number) // place.partitions)


def partition_number(partition: str) -> int:
    """Return the number of a partition; 0 if its name is not a number."""
    return int(partition) if partition.isascii() and partition.isdigit() else 0


class Turns:
    """The lanes of one invocation that run during a ramp, and those that wait for their turn.

    A lane is a task. A lane that has had its turn keeps running until its task ends; then the next
    lane in line gets its turn.

    Args:
        admitted: returns the number of lanes that may run now; None once the circuit admits no
            event, which ends all waits.
    """

    def __init__(self, admitted: Callable[[], int | None]) -> None:
        self._admitted = admitted
        self._generation = 0
        self._running: set[asyncio.Task[Any]] = set()
        self._line: deque[tuple[asyncio.Task[Any], asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> bool:
        """Return whether a lane waits for its turn."""
        return bool(self._line)

    @property
    def running(self) -> bool:
        """Return whether a lane has had its turn and still runs."""
        return bool(self._running)

    def take(self, generation: int) -> bool:
        """Return whether the current task may run in the ramp after a generation's closing."""
        if generation != self._generation:
            self._generation = generation
            self._running.clear()
            self.end_waits()
        task = _current_task()
        if task in self._running:
            return True
        if self._line or len(self._running) >= (self._admitted() or 0):
            return False
        self._start(task)
        return True

    async def wait(self, seconds: float) -> None:
        """Return when it is the current task's turn, when all waits end, or after `seconds`."""
        loop = asyncio.get_running_loop()
        place = (_current_task(), loop.create_future())
        self._line.append(place)
        if self._timer is None:
            self._timer = loop.call_later(STEP_SECONDS, self._step)
        try:
            await asyncio.wait({place[1]}, timeout=seconds)
        finally:
            if not place[1].done():
                place[1].cancel()
                self._line.remove(place)

    def end_waits(self) -> None:
        """End all waits without giving a turn."""
        while self._line:
            self._wake()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _step(self) -> None:
        self._timer = None
        self._admit()
        if self._line:
            self._timer = asyncio.get_running_loop().call_later(STEP_SECONDS, self._step)

    def _admit(self) -> None:
        admitted = self._admitted()
        if admitted is None:
            self.end_waits()
            return
        while self._line and len(self._running) < admitted:
            self._start(self._wake())

    def _wake(self) -> asyncio.Task[Any]:
        task, turn = self._line.popleft()
        turn.set_result(None)
        return task

    def _start(self, task: asyncio.Task[Any]) -> None:
        self._running.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[Any]) -> None:
        if task in self._running:
            self._running.discard(task)
            self._admit()


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a lane runs in a task")
    return task
