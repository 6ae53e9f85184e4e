"""The lease under which one redrive replays a key, so that no other one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from processing.errors import StorageUnavailableError
from processing.event import Source
from processing.parking.store import ParkingStore, lease_lost
from processing.redrive.renewal import renewed


class KeyLease:
    """A key's replay lease.

    Args:
        source, key: whose events.
        token: names its holder.
        seconds: for how long it lasts if it is not renewed.
    """

    def __init__(
        self, store: ParkingStore, source: Source, key: str | None, token: str, seconds: float
    ) -> None:
        self._store = store
        self._place = (source, key)
        self._token = token
        self._seconds = seconds
        self._milliseconds = int(seconds * 1000)
        self._until = 0.0  # by this side's clock, from before the store was asked

    async def acquire(self) -> bool:
        """Return whether the lease was acquired; False: another redrive has it."""
        asked = asyncio.get_running_loop().time()
        taken = await self._store.lease(*self._place, self._token, self._milliseconds)
        self._until = asked + self._seconds
        return taken

    def check(self) -> None:
        """Look at the clock, before anything that only the holder may do.

        Raises:
            LeaseLostError: the lease has run out.
        """
        if asyncio.get_running_loop().time() >= self._until:
            raise lease_lost(self._place[0])

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the lease, also while a handler takes its time, and give it back."""
        try:
            async with renewed(self._renew, self._seconds):
                yield
        finally:
            with suppress(StorageUnavailableError):  # it runs out
                await self._store.release(*self._place, self._token)

    async def _renew(self) -> bool:
        """Return whether to renew again; an answer that is lost is asked for in the next round."""
        asked = asyncio.get_running_loop().time()
        with suppress(StorageUnavailableError):
            if not await self._store.renew(*self._place, self._token, self._milliseconds):
                self._until = asked
                return False
            self._until = asked + self._seconds
        return True
