"""A token bucket for events per second."""

from __future__ import annotations


class TokenBucket:
    """A token bucket that holds at most one second's worth of events.

    Args:
        per_second: the rate in events per second, above 0.
        now_ms: the time, in ms since 1970.
    """

    def __init__(self, per_second: float, now_ms: int) -> None:
        self._per_second = per_second
        self._room = per_second
        self._at_ms = now_ms

    def room(self, now_ms: int) -> float:
        """Return how many events are allowed now; below 0 after a batch larger than the room."""
        # A fault may set the clock back.
        gained = max(0, now_ms - self._at_ms) * self._per_second / 1000
        self._room, self._at_ms = min(self._per_second, self._room + gained), now_ms
        return self._room

    def fits(self, events: int, now_ms: int) -> bool:
        """Return whether `events` are allowed at once; a larger batch needs a full bucket."""
        return self.room(now_ms) >= min(events, self._per_second)

    def spend(self, events: int) -> None:
        """Subtract events that were allowed."""
        self._room -= events
