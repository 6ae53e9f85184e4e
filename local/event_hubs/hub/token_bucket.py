"""A token bucket: how many events fit into a rate per second."""

from __future__ import annotations


class TokenBucket:
    """Room for events that grows with time, up to one second's worth.

    Args:
        per_second: events; above 0.
        now_ms: the time, in ms since 1970.
    """

    def __init__(self, per_second: float, now_ms: int) -> None:
        self._per_second = per_second
        self._room = per_second
        self._at_ms = now_ms

    def room(self, now_ms: int) -> float:
        """How many events may come now; below 0 after a batch larger than there was room for."""
        gained = (now_ms - self._at_ms) * self._per_second / 1000
        self._room, self._at_ms = min(self._per_second, self._room + gained), now_ms
        return self._room

    def fits(self, events: int, now_ms: int) -> bool:
        """Whether so many may come at once; more than a second's worth need a full second."""
        return self.room(now_ms) >= min(events, self._per_second)

    def spend(self, events: int) -> None:
        """Count events that were let through."""
        self._room -= events
