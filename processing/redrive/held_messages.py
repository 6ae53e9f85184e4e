"""Poison messages that one redrive holds, so that nobody else receives them until it is over."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from processing.errors import StorageUnavailableError
from processing.parking.store import ParkingStore
from processing.poison.message import PoisonMessage
from processing.poison.queue import PoisonReader, Received
from processing.redrive.renewal import renewed


class HeldMessages:
    """Holds messages of the poison queue.

    Args:
        reader: reads the queue.
        store: knows which messages are stale.

    Attributes:
        received: what is held, in the order of the queue.
    """

    def __init__(self, reader: PoisonReader, store: ParkingStore) -> None:
        self.received: list[Received] = []
        self._reader = reader
        self._store = store

    async def collect(self, matches: Callable[[PoisonMessage], bool]) -> None:
        """Hold what is selected; everything else is put back.

        Raises:
            StorageUnavailableError: the queue can't be read; nothing is held.
        """
        others: list[Received] = []
        try:
            while some := await self._reader.receive():
                for each in some:
                    (self.received if matches(each.message) else others).append(each)
        except BaseException:
            await self.put_back()
            raise
        finally:
            await self._put_back(others)

    def renewed(self) -> AbstractAsyncContextManager[None]:
        """Keep them held for as long as this takes."""
        return renewed(self._renew, self._reader.hold_seconds)

    async def put_back(self) -> None:
        """Let others receive them."""
        await self._put_back(self.received)

    async def put_back_or_drop(self) -> int:
        """Let others receive them, but for those that another redrive has replayed meanwhile with
        their keys; how many these were.
        """
        stale = 0
        for each in self.received:
            with suppress(StorageUnavailableError):  # its hold runs out
                if await self._is_stale(each):
                    stale += 1
                    await self._reader.remove(each)
                else:
                    await self._reader.put_back(each)
        return stale

    async def _put_back(self, received: list[Received]) -> None:
        for each in received:
            with suppress(StorageUnavailableError):  # its hold runs out
                await self._reader.put_back(each)

    async def _renew(self) -> bool:
        for each in self.received:
            with suppress(StorageUnavailableError):  # the next round tries again
                await self._reader.renew(each)
        return True

    async def _is_stale(self, received: Received) -> bool:
        message = received.message
        return (
            message.parked
            and not received.gone
            and await self._store.is_stale(message.source, message.verdict)
        )
