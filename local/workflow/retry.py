"""The retry policies of a Logic App's HTTP actions.

Not tenacity: a run continues after a restart, so the wait follows from the attempts it has stored.
"""

from __future__ import annotations

from dataclasses import dataclass

_RETRIED = frozenset({408, 429})


@dataclass(frozen=True)
class ExponentialRetry:
    """Waits that double between a minimum and a maximum.

    The defaults are Logic Apps' own: up to 4 retries, 7.5 s doubled each time, between 5 and 45 s.

    Attributes:
        retries: how many; None: without end.
        scale: multiplies every wait.
    """

    retries: int | None = 4
    interval_seconds: float = 7.5
    minimum_seconds: float = 5
    maximum_seconds: float = 45
    scale: float = 1.0

    def wait_after(self, attempts: int) -> float | None:
        """Seconds until the next attempt after `attempts` of them; None: no more."""
        if self.retries is not None and attempts > self.retries:
            return None
        # Far below what a float can hold, far above any maximum.
        wait = self.interval_seconds * 2.0 ** min(attempts - 1, 30)
        return min(max(wait, self.minimum_seconds), self.maximum_seconds) * self.scale


def is_retried(status: int) -> bool:
    """408, 429 and 5xx are tried again; other errors would only repeat themselves."""
    return status in _RETRIED or status >= 500
