"""The clock of runs."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """A clock that can wait; tests use a simulated clock."""

    def now(self) -> float:
        """Return the seconds since 1970."""

    async def sleep_until(self, moment: float) -> None:
        """Wait until a time; return at once if the time has passed."""


class SystemClock:
    """The clock of the operating system."""

    def now(self) -> float:
        """Return the seconds since 1970."""
        return time.time()

    async def sleep_until(self, moment: float) -> None:
        """Wait until a time; return at once if the time has passed."""
        await asyncio.sleep(max(0.0, moment - self.now()))
