"""The test clock: on its event loop, pauses take no time while nothing is at work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

type Busy = Callable[[], bool]

_clocks: WeakKeyDictionary[asyncio.AbstractEventLoop, TestClock] = WeakKeyDictionary()


class TestClock:
    """The clock of one event loop, for circuits, stores and the loop's own timers.

    While no user of the clock is busy, the loop does not wait for its next timer: the clock jumps
    to the timer. While a user is busy, for example because a handler waits for an answer, the loop
    waits as usual, and the clock advances by the time of the wait. Time in which the loop does not
    wait does not count, so a debugger may stop the program.

    Args:
        loop: a loop of asyncio that waits with a selector.
    """

    __test__ = False  # pytest must not take the class for a test

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        selector = getattr(loop, "_selector", None)
        if selector is None:
            raise RuntimeError(
                f"the test clock needs an event loop of asyncio, such as SelectorEventLoop; this "
                f"one is a {type(loop).__module__}.{type(loop).__qualname__}: call run() outside "
                "of it, which brings its own loop"
            )
        self._loop: Any = loop
        self._selector: Any = selector
        self._wait: Callable[[float | None], list[Any]] = selector.select
        self._users: list[Busy] = []
        self._now = loop.time()
        self._epoch = time.time() - self._now

    @classmethod
    def join(cls, busy: Busy) -> TestClock:
        """Return the clock of the running loop, with one more user.

        Args:
            busy: returns whether the user works, so that time must pass as usual.

        Raises:
            RuntimeError: the loop has no selector.
        """
        loop = asyncio.get_running_loop()
        clock = _clocks.get(loop)
        if clock is None:
            clock = _clocks[loop] = cls(loop)
            clock._install()
        clock._users.append(busy)
        return clock

    def leave(self, busy: Busy) -> None:
        """Remove a user; after the last one, time passes as usual."""
        self._users.remove(busy)
        if not self._users:
            del _clocks[self._loop]
            del self._selector.select
            # The loop's time stays ahead: timers that were set on this clock still fire.
            ahead = self._now - time.monotonic()
            self._loop.time = lambda: time.monotonic() + ahead

    def monotonic(self) -> float:
        """Return the loop's time in seconds."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Sleep on this clock."""
        await asyncio.sleep(seconds)

    def time(self) -> float:
        """Return the seconds since 1970; the time begins at the real time."""
        return self._epoch + self._now

    def now_us(self) -> int:
        """Return the microseconds since 1970."""
        return round(self.time() * 1_000_000)

    def now_ms(self) -> int:
        """Return the milliseconds since 1970."""
        return round(self.time() * 1_000)

    def _install(self) -> None:
        self._loop.time = self.monotonic
        self._selector.select = self._select

    def _select(self, timeout: float | None = None) -> list[Any]:
        """Wait for files as `selectors.BaseSelector.select`, but skip a wait for a timer alone."""
        if timeout is not None and timeout <= 0:
            return self._wait(timeout)
        if timeout is None or any(busy() for busy in self._users):
            began = time.monotonic()
            ready = self._wait(timeout)
            self._now += time.monotonic() - began
            return ready
        ready = self._wait(0)
        if not ready:
            self._now += timeout
        return ready
