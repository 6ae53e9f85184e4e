"""Cancellation of work: a signal that is set once and never cleared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


class CancellationToken:
    """A cancellation token as in .NET, which callers poll or wait for with a timeout."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def is_cancelled(self) -> bool:
        """Return whether the work should end."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Request the end of the work; a repeated call does nothing."""
        self._event.set()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds; return whether the token is cancelled."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout)
        return self._event.is_set()


_POLL_SECONDS = 0.05


class OwnershipToken(CancellationToken):
    """The token of an owner, which is cancelled when the ownership is lost.

    A process that was paused does not notice a loss immediately. So the owner calls `confirm`
    before each step and waits while the ownership is uncertain.

    Args:
        is_certain: returns whether no other instance can be the owner at this moment.
    """

    def __init__(self, is_certain: Callable[[], bool]) -> None:
        super().__init__()
        self._is_certain = is_certain

    async def confirm(self) -> bool:
        """Wait until the ownership is certain or lost; return whether it is certain."""
        while not self.is_cancelled() and not self._is_certain():
            await super().wait(_POLL_SECONDS)
        return not self.is_cancelled()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds, then confirm; return whether the token is cancelled."""
        return await super().wait(timeout) or not await self.confirm()
