"""The simulated clock in the forms that the parts of the chain take."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from tests.support.local.simulated_clock import SimulatedClock

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
_FIRST_SECONDS, _LONGEST_SECONDS = 5.0, 300.0
_LEAST_SECONDS = 10.0


class BreakerClock:
    """The simulated clock as a clock of the circuit breaker and of its store.

    Each sleep takes at least ten seconds. In reality a breaker with a callback to make polls its
    store every two seconds, which the matrix cannot afford.
    """

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock

    def monotonic(self) -> float:
        return self._clock.now()

    def now_us(self) -> int:
        return round(self._clock.now() * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep_until(self._clock.now() + max(seconds, _LEAST_SECONDS))


class PollClock(BreakerClock):
    """A clock whose polls come at the moments of the world, and whose other sleeps take their time.

    Args:
        pulse: the moments.
        poll_seconds: the pause between two polls.
    """

    def __init__(self, pulse: Pulse, poll_seconds: float) -> None:
        super().__init__(pulse.clock)
        self._pulse = pulse
        self._poll_seconds = poll_seconds

    async def sleep(self, seconds: float) -> None:
        if seconds == self._poll_seconds:
            await self._pulse.next()
        else:
            await super().sleep(seconds)


class Background:
    """Tasks of one process, which end with the process; `aclose` raises the first error."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._errors: list[BaseException] = []

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def aclose(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._errors:
            raise self._errors[0]

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)


class Pulse:
    """The moments at which background tasks run: soon after each event, and then ever more rarely.

    In reality the tasks run every few seconds. In the matrix they see the same changes later.
    """

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self._wait = _FIRST_SECONDS
        self._sleepers: list[asyncio.Future[None]] = []
        self._timer: asyncio.Task[None] | None = None

    def beat(self) -> None:
        """Let the next moment come soon, because something has happened."""
        self._wait = _FIRST_SECONDS
        self._set_timer()

    async def next(self) -> None:
        """Wait for the next moment."""
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers.append(sleeper)
        if self._timer is None:
            self._set_timer()
        await sleeper

    async def aclose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.gather(self._timer, return_exceptions=True)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.create_task(self._after(self._wait))
        self._wait = min(2 * self._wait, _LONGEST_SECONDS)

    async def _after(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.now() + seconds)
        self._timer = None
        sleepers, self._sleepers = self._sleepers, []
        for sleeper in sleepers:
            if not sleeper.done():
                sleeper.set_result(None)
