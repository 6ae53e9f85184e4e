"""When a failed delivery is tried again: Event Grid's documented schedule.

Not tenacity: the time to live counts from when the event was accepted, also before a restart.
"""

from __future__ import annotations

from dataclasses import dataclass

_MINUTE, _HOUR = 60.0, 3600.0
_WAITS = (
    *(10.0, 30.0),
    *(1 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE),
    *(1 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
)
_PERMANENT = frozenset({400, 401, 403, 413})


@dataclass(frozen=True)
class RetrySchedule:
    """Up to `max_attempts` within `time_to_live_seconds`, whichever ends first.

    Attributes:
        scale: multiplies every wait and the time to live; below 1 for tests and demos.
    """

    max_attempts: int = 30
    time_to_live_seconds: float = 24 * _HOUR
    scale: float = 1.0

    def wait_after(self, attempts: int, age_seconds: float) -> float | None:
        """Seconds until the next attempt; None: no more.

        Args:
            attempts: made so far, 1 or more.
            age_seconds: since the event was accepted.
        """
        wait = _WAITS[min(attempts, len(_WAITS)) - 1] * self.scale
        too_old = age_seconds + wait > self.time_to_live_seconds * self.scale
        return None if attempts >= self.max_attempts or too_old else wait


def is_success(status: int) -> bool:
    """200 to 204 count as delivered."""
    return 200 <= status <= 204


def is_permanent(status: int) -> bool:
    """Answers that no retry can change: the event is dead-lettered at once."""
    return status in _PERMANENT
