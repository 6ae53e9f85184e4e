"""Poison messages that one redrive holds, so that no other reader receives them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from processing.errors import StorageUnavailableError
from processing.parking.store import ParkingStore
from processing.poison.message import PoisonMessage
from processing.poison.queue import PoisonReader, Received
from processing.redrive.renewal import renewed


class HeldMessages:
    """The messages of the poison queue that one redrive holds.

    Args:
        reader: reads the queue.
        store: returns which messages are stale.

    Attributes:
        received: the held messages, in the order of the queue.
    """

    def __init__(self, reader: PoisonReader, store: ParkingStore) -> None:
        self.received: list[Received] = []
        self._reader = reader
        self._store = store

    async def collect(self, matches: Callable[[PoisonMessage], bool]) -> None:
        """Hold the selected messages, and put all others back.

        Raises:
            StorageUnavailableError: the queue cannot be read; no message is held.
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
        """Renew the visibility timeouts of the held messages during the block."""
        return renewed(self._renew, self._reader.hold_seconds)

    async def put_back(self) -> None:
        """End the visibility timeouts, so that other readers receive the messages."""
        await self._put_back(self.received)

    async def put_back_or_remove(self) -> int:
        """Put the messages back, remove stale ones, and return the number of stale ones.

        A message is stale if another redrive has replayed its event with its key.
        """
        stale = 0
        for each in self.received:
            with suppress(StorageUnavailableError):  # the visibility timeout expires
                if await self._is_stale(each):
                    stale += 1
                    await self._reader.remove(each)
                else:
                    await self._reader.put_back(each)
        return stale

    async def _put_back(self, received: list[Received]) -> None:
        for each in received:
            with suppress(StorageUnavailableError):  # the visibility timeout expires
                await self._reader.put_back(each)

    async def _renew(self) -> bool:
        for each in self.received:
            with suppress(StorageUnavailableError):  # the next round retries
                await self._reader.renew(each)
        return True

    async def _is_stale(self, received: Received) -> bool:
        message = received.message
        return (
            message.parked
            and not received.gone
            and await self._store.is_stale(message.source, message.verdict)
        )
