"""What the host asks of every trigger that listens by itself."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """Watches a source and runs its function."""

    async def start(self) -> None:
        """Begin to listen; returns when set up, not when connected."""

    async def drain(self) -> None:
        """Start nothing new; what runs goes on to its end, its retries and its checkpoint."""

    async def stop(self, grace: float) -> None:
        """Stop: cancel first, then wait up to `grace` seconds for what still runs."""
