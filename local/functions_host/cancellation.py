"""A signal that work should end: set once, never taken back."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class CancellationToken:
    """What .NET calls a cancellation token: asked for, or waited for with a timeout."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def is_cancelled(self) -> bool:
        """Whether the work should end."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Ask for the end; again does nothing."""
        self._event.set()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds; return whether the end was asked for."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout)
        return self._event.is_set()
