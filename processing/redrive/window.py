"""The limits of a redrive by the speed of the storage: held messages, and calls at a time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from processing.poison.side_by_side import AT_ONCE

WINDOW = 512
"""Greatest number of messages that a redrive of all holds with their bodies."""
FIRST = 64
"""Number of messages that are held while the storage's speed is not known."""
LEAST = 32
RENEWED_IN = 0.25
"""Share of a visibility timeout in which all held messages can be renewed."""
LEAST_AT_ONCE = 4
"""Least number of calls that are made at the same time."""
ANSWERED_IN = 0.5
"""Time in which the storage answers all calls that are made at the same time, seconds."""
_SHORTEST = 1e-6
"""Seconds that count at least; a clock may show no time between a call and its answer."""


def _now() -> float:
    return time.monotonic()


class Window:
    """The limits of a redrive by the speed of the storage: held messages, and calls at a time.

    Each held message is renewed before its visibility timeout expires. A slow storage cannot renew
    many messages in time: then other readers receive them. And a stop waits until the message of
    each handled event is removed. So both numbers follow the number of calls that the storage
    answers in a second.

    Args:
        most: greatest number of messages.
        hold_seconds: the visibility timeout.
        clock: returns seconds.
    """

    def __init__(
        self, most: int, hold_seconds: float, *, clock: Callable[[], float] = _now
    ) -> None:
        self.most = most
        self._hold_seconds = hold_seconds
        self._clock = clock
        self._running = self._answers = 0
        self._busy_since = self._busy = 0.0

    def measured[**P, T](self, call: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Return a call of the storage that counts its answers, and the time of waiting."""

        async def one(*args: P.args, **kwargs: P.kwargs) -> T:
            with self._measuring():
                return await call(*args, **kwargs)

        return one

    @contextmanager
    def _measuring(self) -> Iterator[None]:
        if not self._running:
            self._busy_since = self._clock()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._answers += 1
            if not self._running:
                self._busy += self._clock() - self._busy_since

    @property
    def size(self) -> int:
        """The number of messages to hold, by the answers so far."""
        if not self._answers:
            return min(FIRST, self.most)
        renewable = int(self._answered_in(self._hold_seconds * RENEWED_IN))
        return max(min(LEAST, self.most), min(renewable, self.most))

    @property
    def at_once(self) -> int:
        """The number of calls to make at the same time, and so of keys to replay."""
        return max(LEAST_AT_ONCE, min(int(self._answered_in(ANSWERED_IN)), AT_ONCE))

    def _answered_in(self, seconds: float) -> float:
        """Return the number of calls that the storage answers in a time, by the answers so far."""
        busy = self._busy + (self._clock() - self._busy_since if self._running else 0.0)
        return self._answers / max(busy, _SHORTEST) * seconds
