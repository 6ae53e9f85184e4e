"""The interface of a trigger that listens to a source."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """A listener to a source, which runs its function."""

    async def start(self) -> None:
        """Start listening; return after the set-up, without waiting for a connection."""

    async def drain(self) -> None:
        """Start no new work; running work still ends with its retries and its checkpoint."""

    async def stop(self, grace: float) -> None:
        """Cancel the work, then wait up to `grace` seconds for running work."""
