"""The retry schedule of failed deliveries, as documented for Event Grid.

tenacity is not used, because the time to live begins when the event is accepted and includes the
time before a restart.
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
    """A retry schedule with at most `max_attempts` attempts within `time_to_live_seconds`.

    Attributes:
        max_attempts: the most attempts.
        time_to_live_seconds: the longest time between acceptance and the last attempt.
        scale: factor for every wait and the time to live; below 1 for tests and demos.
    """

    max_attempts: int = 30
    time_to_live_seconds: float = 24 * _HOUR
    scale: float = 1.0

    def wait_after(self, attempts: int, age_seconds: float) -> float | None:
        """Return the seconds until the next attempt; None after the last attempt.

        Args:
            attempts: number of attempts so far, 1 or more.
            age_seconds: time since the event was accepted.
        """
        wait = _WAITS[min(attempts, len(_WAITS)) - 1] * self.scale
        too_old = age_seconds + wait > self.time_to_live_seconds * self.scale
        return None if attempts >= self.max_attempts or too_old else wait


def is_success(status: int) -> bool:
    """Return whether an HTTP status (200 to 204) counts as delivered."""
    return 200 <= status <= 204


def is_permanent(status: int) -> bool:
    """Return whether an HTTP status is not retried, so that the event is dead-lettered at once."""
    return status in _PERMANENT
