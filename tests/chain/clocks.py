"""The simulated clock in the forms that the parts of the chain take."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from tests.support.local.simulated_clock import SimulatedClock

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


class BreakerClock:
    """The simulated clock as a clock of the circuit breaker and of its store."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock

    def monotonic(self) -> float:
        return self._clock.now()

    def now_us(self) -> int:
        return round(self._clock.now() * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep_until(self._clock.now() + seconds)


class Background:
    """Tasks of one process, which end with the process."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
