"""The retry policies of a Logic App's HTTP actions.

tenacity is not used, because a run continues after a restart and computes the wait from the stored
number of attempts.
"""

from __future__ import annotations

from dataclasses import dataclass

_RETRIED = frozenset({408, 429})


@dataclass(frozen=True)
class ExponentialRetry:
    """An exponential retry policy with a minimum and a maximum wait.

    The defaults are those of Logic Apps: up to 4 retries, 7.5 s doubled each time, between 5 and
    45 s.

    Attributes:
        retries: the most retries; None retries without end.
        interval_seconds: the first wait.
        minimum_seconds: the shortest wait.
        maximum_seconds: the longest wait.
        scale: factor for every wait.
    """

    retries: int | None = 4
    interval_seconds: float = 7.5
    minimum_seconds: float = 5
    maximum_seconds: float = 45
    scale: float = 1.0

    def wait_after(self, attempts: int) -> float | None:
        """Return the seconds until the next attempt; None after the last retry."""
        if self.retries is not None and attempts > self.retries:
            return None
        # The limit of 30 prevents a float overflow and is far above any maximum.
        wait = self.interval_seconds * 2.0 ** min(attempts - 1, 30)
        return min(max(wait, self.minimum_seconds), self.maximum_seconds) * self.scale


def is_retried(status: int) -> bool:
    """Return whether a retry may help for an HTTP status (408, 429 or 5xx)."""
    return status in _RETRIED or status >= 500
