"""Restart limits for a crashed child.

tenacity does not fit: the limit applies to a moving window, and a child that ran for a long time
starts with a full budget.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class RestartBudget:
    """A budget of `limit` restarts in `window_seconds`, with a delay that doubles each time."""

    def __init__(
        self,
        limit: int = 5,
        window_seconds: float = 60,
        *,
        first_delay: float = 0.1,
        max_delay: float = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self.window_seconds = window_seconds
        self.total = 0
        self._first_delay = first_delay
        self._max_delay = max_delay
        self._clock = clock
        self._recent: deque[float] = deque()

    def next_delay(self) -> float | None:
        """Count a restart and return its delay in seconds; None when the budget is used up."""
        now = self._clock()
        while self._recent and now - self._recent[0] > self.window_seconds:
            self._recent.popleft()
        if len(self._recent) >= self.limit:
            return None
        delay = min(self._max_delay, self._first_delay * 2.0 ** len(self._recent))
        self._recent.append(now)
        self.total += 1
        return delay
