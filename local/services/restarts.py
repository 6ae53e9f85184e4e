"""Restart limits for a crashed child.

tenacity does not fit: the limit applies to a moving window, and a child that ran for a long time
starts with a full budget.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class RestartBudget:
    """A budget of restarts in `window_seconds`, with a delay that doubles each time.

    Args:
        limit: number of restarts in the window; then the delay is the longest one.
        window_seconds: the window.
        endless: whether restarts follow after the limit, too.
        first_delay: the first delay in seconds.
        max_delay: the longest delay in seconds.
        clock: returns the time in seconds.

    Attributes:
        total: number of all restarts.
    """

    def __init__(
        self,
        limit: int = 5,
        window_seconds: float = 60,
        *,
        endless: bool = False,
        first_delay: float = 0.1,
        max_delay: float = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self.window_seconds = window_seconds
        self.total = 0
        self._endless = endless
        self._first_delay = first_delay
        self._max_delay = max_delay
        self._clock = clock
        self._recent: deque[float] = deque()

    @property
    def recent(self) -> int:
        """The number of restarts in the window."""
        now = self._clock()
        while self._recent and now - self._recent[0] > self.window_seconds:
            self._recent.popleft()
        return len(self._recent)

    def next_delay(self) -> float | None:
        """Count a restart and return its delay in seconds; None when the budget is used up."""
        recent = self.recent
        if recent >= self.limit and not self._endless:
            return None
        # The exponent is bounded, because many restarts would overflow a float.
        delay = min(self._max_delay, self._first_delay * 2.0 ** min(recent, 64))
        self._recent.append(self._clock())
        self.total += 1
        return delay
