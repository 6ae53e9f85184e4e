"""Budgets that decide whether a partition waits for a failing event, defers it, or holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from processing.event import Event
from processing.parking.event import Position, position_of

MINUTE_SECONDS = 60.0
LARGEST_SHARE = 0.8
"""Above this share of refused events, deferring would move almost all traffic into Redis."""
FEWEST_EVENTS = 20
"""With fewer events in a minute, their share says nothing."""


class TimeInPlace:
    """The time in each minute for which one partition waits in place for failing events.

    The time is wall-clock time from an event's first attempt. Events that fail at the same time
    count once.

    Args:
        seconds: the budget of each minute.
        now: returns monotonic time in seconds.
    """

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = now
        self._minute_ends = 0.0
        self._counted_until = 0.0
        self._used = 0.0

    def left(self, failing_since: float) -> float:
        """Count the time of a failing event, and return the seconds left in this minute.

        Args:
            failing_since: monotonic time of the event's first attempt.
        """
        now = self._now()
        if now >= self._minute_ends:
            self._minute_ends = now + MINUTE_SECONDS
            self._used = 0.0
        self._used += max(0.0, now - max(failing_since, self._counted_until))
        self._counted_until = now
        return self._seconds - self._used


class RefusedShare:
    """The share of one partition's events in the last minute that an open circuit refused.

    Once the share is reached, the minute lasts until new events come. A batch whose events wait in
    place is delivered again. These events must not begin a new minute, because the new minute would
    let them be deferred. The events of a new batch count only when the batch is over. Otherwise
    four fifths of the batch could be deferred before the app knows which dependency they need.

    Args:
        now: returns monotonic time in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._minute_ends = 0.0
        self._events = self._refused = 0
        self._present = 0  # events of the present batch that do not count yet
        self._last: Position = ""

    def note_events(self, events: Sequence[Event]) -> None:
        """Count the events of a batch, which are in order.

        An event that comes again in the same minute counts once.
        """
        self._begin_minute()
        if not events:
            return
        if self._last < position_of(events[0]):
            self._events += self._present  # the earlier batch is over
            self._present = len(events)
        else:
            self._present += sum(position_of(event) > self._last for event in events)
        if not self._is_reached:
            self._events += self._present
            self._present = 0
        self._last = max(self._last, position_of(events[-1]))

    def note_refused(self, count: int) -> None:
        """Count events that join a deferred key; a negative number takes events back."""
        self._begin_minute()
        self._refused = max(0, self._refused + count)

    def take(self, count: int) -> int:
        """Count as many of further refused events as stay within `LARGEST_SHARE`.

        Returns:
            The number of events that were counted, and may join their key.
        """
        self._begin_minute()
        if self._events >= FEWEST_EVENTS:
            count = max(0, min(count, int(LARGEST_SHARE * self._events) - self._refused))
        self._refused += count
        return count

    def admits(self) -> bool:
        """Count one more refused event if the share stays within `LARGEST_SHARE`.

        Returns:
            Whether the event was counted, and may be deferred.
        """
        self._begin_minute()
        if self._is_reached:
            return False
        self._refused += 1
        return True

    @property
    def _is_reached(self) -> bool:
        return self._events >= FEWEST_EVENTS and self._refused + 1 > LARGEST_SHARE * self._events

    def _begin_minute(self) -> None:
        now = self._now()
        if now < self._minute_ends:
            return
        self._minute_ends = now + MINUTE_SECONDS
        if not self._is_reached:
            self._events = self._refused = self._present = 0
            self._last = ""
