"""The lease that lets only one redrive or replay at a time handle a key."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from processing.errors import StorageUnavailableError
from processing.identity import Source
from processing.parking.deferral import Deferral
from processing.parking.event import ListKey
from processing.parking.store import Lease, ParkingStore, lease_lost
from processing.redrive.lease_returns import LeaseReturns
from processing.redrive.renewal import renewed


class KeyLease:
    """A lease on the replay of one key.

    Args:
        store: stores the lease.
        source, key: the partition and the key.
        seconds: time after which the lease expires if it is not renewed.
        returns: gives the lease back later if the store does not answer; None: the lease expires.

    Attributes:
        token: names the holder; each acquisition has a token of its own.
    """

    def __init__(
        self,
        store: ParkingStore,
        source: Source,
        key: ListKey,
        seconds: float,
        returns: LeaseReturns | None = None,
    ) -> None:
        self._store = store
        self._place = (source, key)
        self._seconds = seconds
        self._returns = returns
        self._milliseconds = int(seconds * 1000)
        self._until = 0.0  # local time; counted from before the request, so never too late
        self._lease = Lease()
        self.token = ""

    @property
    def epoch(self) -> int:
        """The partition's epoch at the acquisition."""
        return self._lease.epoch

    @property
    def deferral(self) -> Deferral | None:
        """The key's deferral at the acquisition; None: the key is not deferred."""
        return self._lease.deferral

    async def acquire(self) -> bool:
        """Return whether the lease was acquired; False: another holder has the lease.

        Raises:
            StorageUnavailableError: the store did not answer.
        """
        # A holder that lost the lease without noticing must not pass for its next holder.
        self.token = secrets.token_hex(8)
        requested_at = asyncio.get_running_loop().time()
        try:
            lease = await self._store.lease(*self._place, self.token, self._milliseconds)
        except StorageUnavailableError:
            await self._release()  # only the answer may be lost, and the next try has another token
            raise
        if lease is None:
            return False
        self._lease = lease
        self._until = requested_at + self._seconds
        return True

    def check(self, seconds: float = 0.0) -> None:
        """Check the lease before an operation that only its holder may do.

        Args:
            seconds: longest time that the operation takes.

        Raises:
            LeaseLostError: the lease has expired, or may expire before the operation ends.
        """
        if asyncio.get_running_loop().time() + seconds >= self._until:
            raise lease_lost(self._place[0])

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Renew the lease during the block, and release the lease at its end."""
        try:
            async with renewed(self._renew, self._seconds):
                yield
        finally:
            await self._release()

    async def _release(self) -> None:
        try:
            await self._store.release(*self._place, self.token)
        except StorageUnavailableError:
            if self._returns is not None:
                # The answer to the last renewal may be lost, so the whole time counts from now.
                self._returns.add(*self._place, self.token, self._seconds)

    async def _renew(self) -> bool:
        """Return whether to renew again; after an error the next round retries."""
        requested_at = asyncio.get_running_loop().time()
        with suppress(StorageUnavailableError):
            if not await self._store.renew(*self._place, self.token, self._milliseconds):
                self._until = requested_at
                return False
            self._until = requested_at + self._seconds
        return True
