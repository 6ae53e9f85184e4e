"""A signal that work should end: set once, never taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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


_LOOK_AGAIN_SECONDS = 0.05


class OwnershipToken(CancellationToken):
    """The token of somebody who owns something: it is cancelled when the ownership is lost.

    A process that was paused does not learn of that until it has asked. So whoever goes on asks
    whether the ownership is certain, and waits where it is not.

    Args:
        is_certain: whether nobody else can have become the owner by now.
    """

    def __init__(self, is_certain: Callable[[], bool]) -> None:
        super().__init__()
        self._is_certain = is_certain

    async def confirm(self) -> bool:
        """Whether the owner may go on; waits until that is certain, one way or the other."""
        while not self.is_cancelled() and not self._is_certain():
            await super().wait(_LOOK_AGAIN_SECONDS)
        return not self.is_cancelled()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds, and then for certainty; whether the end has come."""
        return await super().wait(timeout) or not await self.confirm()
