"""The stop of a redrive: its reason, and the time that is left for clearing up."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any


class Stopping:
    """A request to stop; false until `stop` is called.

    Attributes:
        why: the first reason, or "".
    """

    def __init__(self) -> None:
        self.why = ""
        self._event = asyncio.Event()
        self._hurried_at: float | None = None
        self._clearing_since: float | None = None

    def __bool__(self) -> bool:
        """Return whether to stop."""
        return bool(self.why)

    def stop(self, why: str, *, hurried: bool = False) -> None:
        """Stop; the first reason is kept.

        Args:
            why: the reason.
            hurried: whether somebody waits for the end, so that clearing up must be short.
        """
        if hurried and self._hurried_at is None:
            self._hurried_at = time.monotonic()
        self.why = self.why or why
        self._event.set()

    def may_clear_up(self, seconds: float) -> bool:
        """Return whether to go on clearing up.

        Args:
            seconds: longest time after a hurried stop. If running events took longer, a fifth of
                this time is left.
        """
        left = self.seconds_left(seconds)
        return left is None or left > 0

    def seconds_left(self, seconds: float) -> float | None:
        """Return the time that is left for clearing up, see `may_clear_up`; None: no limit."""
        if self._hurried_at is None:
            return None
        now = time.monotonic()
        if self._clearing_since is None:
            self._clearing_since = now
        return max(self._hurried_at + seconds, self._clearing_since + seconds / 5) - now

    async def pause(self, seconds: float) -> None:
        """Sleep until the time is over or the stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)

    async def ended(self, task: asyncio.Task[Any], seconds: float) -> bool:
        """Wait for a task, but after a stop only for so many seconds; return whether it ended."""
        stopped = asyncio.create_task(self._event.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.wait({task}, timeout=seconds)
        finally:
            stopped.cancel()
        return task.done()
