"""A simulated clock, which jumps to the next wake-up when no task has anything else to do."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

from tests.support.local.simulated_loop import SimulatedLoop

_MOST_ROUNDS = 100_000


class SimulatedClock:
    """A clock that only `run_until` advances."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.start = start
        self._now = start
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    @property
    def passed(self) -> float:
        return self._now - self.start

    async def sleep_until(self, moment: float) -> None:
        if moment > self._now:
            future = asyncio.get_running_loop().create_future()
            heapq.heappush(self._sleepers, (moment, next(self._order), future))
            await future

    async def run_until(self, condition: Callable[[], object], limit: float = 40 * 86400) -> None:
        """Advance the clock until the condition is true.

        Raises:
            TimeoutError: nothing sleeps any more, or `limit` seconds have passed.
        """
        end = self._now + limit
        loop = asyncio.get_running_loop()
        while True:
            if isinstance(loop, SimulatedLoop):
                await loop.idle()
            else:
                await _idle(loop)
            if condition():
                return
            while self._sleepers and self._sleepers[0][2].done():
                heapq.heappop(self._sleepers)
            if not self._sleepers or self._sleepers[0][0] > end:
                raise TimeoutError(f"the condition is not met after {self.passed:g} s")
            moment, _, future = heapq.heappop(self._sleepers)
            self._now = max(self._now, moment)
            future.set_result(None)

    async def advance(self, seconds: float) -> None:
        """Advance the clock by a number of seconds."""
        end = asyncio.create_task(self.sleep_until(self._now + seconds))
        await self.run_until(end.done)


async def _idle(loop: asyncio.AbstractEventLoop) -> None:
    """Wait until no other task can continue without a wake-up."""
    ready = loop._ready  # type: ignore[attr-defined]
    for _ in range(_MOST_ROUNDS):
        await asyncio.sleep(0)
        if not ready:
            return
