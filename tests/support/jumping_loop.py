"""An event loop whose time jumps to the next timer instead of passing."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Coroutine
from typing import Any

import pytest

START = 1_700_000_000.0
"""The simulated wall-clock time at the beginning, seconds since 1970."""


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop for code that waits with asyncio's timers and with nothing else.

    A thread or a socket that the code waits for would see the time jump.
    """

    _scheduled: list[Any]
    _ready: Any
    _timer_cancelled_count: int

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__()

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)._scheduled = False
            self._timer_cancelled_count -= 1
        if self._scheduled and not self._ready:
            self._now = max(self._now, self._scheduled[0].when())
        super()._run_once()  # type: ignore[misc]


def run_simulated[T](work: Coroutine[Any, Any, T]) -> T:
    """Run the work to its end, in simulated time that begins at 0."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(work)


class LoopClock:
    """A clock of a circuit breaker, and of stores, that follows the running loop."""

    def monotonic(self) -> float:
        """Return the simulated seconds."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Sleep in simulated time."""
        await asyncio.sleep(seconds)

    def time(self) -> float:
        """Return the simulated seconds since 1970."""
        return START + self.monotonic()

    def now_us(self) -> int:
        """Return the simulated microseconds since 1970."""
        return round(self.time() * 1_000_000)


def run_with_all_clocks[T](work: Coroutine[Any, Any, T]) -> T:
    """Run the work in simulated time, which `time.time` and `time.monotonic` show as well."""
    clock = LoopClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", clock.time)
        patch.setattr(time, "monotonic", clock.monotonic)
        return run_simulated(work)
