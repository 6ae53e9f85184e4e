"""The broker's clock, which a fault can set back or forward."""

from __future__ import annotations

from collections.abc import Callable


class BrokerClock:
    """A clock in seconds since 1970 with an offset.

    Enqueued times, retention, creation times, tokens and the ends of faults follow this clock. The
    sequence numbers of a partition still increase after the clock was set back, but its enqueued
    times decrease once.

    Args:
        source: the clock of the machine, in seconds since 1970.
    """

    def __init__(self, source: Callable[[], float]) -> None:
        self._source = source
        self.offset_seconds = 0.0

    def __call__(self) -> float:
        """Return the seconds since 1970 by this clock."""
        return self._source() + self.offset_seconds

    def shift(self, seconds: float) -> float:
        """Set the clock forward, or back by a number below 0; return the new offset in seconds."""
        self.offset_seconds += seconds
        return self.offset_seconds
