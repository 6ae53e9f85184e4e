"""Leases that are given back late, because the store did not answer at the end of a replay."""

from __future__ import annotations

import asyncio
from contextvars import Context

from processing.errors import StorageUnavailableError
from processing.identity import Source
from processing.parking.event import ListKey
from processing.parking.store import ParkingStore

PAUSE_SECONDS = 1.0
"""Pause after a request that the store did not answer."""


class LeaseReturns:
    """The leases that one instance still has to give back.

    A key then need not wait until its lease expires. The store compares the token, so a lease that
    another holder has taken since stays, and a late write of the earlier holder is refused.

    Args:
        store: stores the leases.
    """

    def __init__(self, store: ParkingStore) -> None:
        self._store = store
        self._leases: dict[tuple[Source, ListKey, str], float] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def add(self, source: Source, key: ListKey, token: str, seconds: float) -> None:
        """Give a lease back as soon as the store answers.

        Args:
            source: the partition.
            key: the key.
            token: names the holder.
            seconds: time after which the lease has expired in any case.
        """
        if self._stopped:
            return
        loop = asyncio.get_running_loop()
        self._leases[source, key, token] = loop.time() + seconds
        if self._task is None or self._task.done():
            # The leases of several replays are given back, so the context is not that of one.
            self._task = loop.create_task(self._give_back(), context=Context())

    def stop(self) -> None:
        """Leave the remaining leases to expire."""
        self._stopped = True
        self._leases.clear()
        if self._task is not None:
            self._task.cancel()

    async def _give_back(self) -> None:
        """Make one request at a time, so that a store that is away gets one request a pause."""
        loop = asyncio.get_running_loop()
        while self._leases:
            lease, until = next(iter(self._leases.items()))
            if loop.time() < until:
                try:
                    await self._store.release(*lease)
                except StorageUnavailableError:
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
            self._leases.pop(lease, None)
