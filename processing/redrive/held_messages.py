"""Poison messages that one redrive holds, so that no other reader receives them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from processing.errors import StorageUnavailableError
from processing.identity import Identity
from processing.parking.store import ParkingStore
from processing.poison.message import PoisonMessage
from processing.poison.other_apps import is_own
from processing.poison.queue import PoisonReader, Received, put_back
from processing.redrive.renewal import renewed


class HeldMessages:
    """The app's messages of the poison queue that one redrive holds.

    Args:
        reader: reads the queue.
        store: returns which messages are stale.
        own: the app.

    Attributes:
        received: the held messages, in the order of the queue.
        of_others: the selected messages of other apps, which are not held.
    """

    def __init__(self, reader: PoisonReader, store: ParkingStore, own: Identity) -> None:
        self.received: list[Received] = []
        self.of_others: list[PoisonMessage] = []
        self._own = own
        self._reader = reader
        self._store = store

    async def collect(self, matches: Callable[[PoisonMessage], bool]) -> None:
        """Hold the app's selected messages, and put all others back.

        Raises:
            StorageUnavailableError: the queue cannot be read; no message is held.
        """
        others: list[Received] = []
        try:
            while some := await self._reader.receive():
                for each in some:
                    selected, own = matches(each.message), is_own(each.message, self._own)
                    (self.received if selected and own else others).append(each)
                    if selected and not own:
                        self.of_others.append(each.message)
        except BaseException:
            await self.put_back()
            raise
        finally:
            await put_back(self._reader, others)

    def renewed(self) -> AbstractAsyncContextManager[None]:
        """Renew the visibility timeouts of the held messages during the block."""
        return renewed(self._renew, self._reader.hold_seconds)

    async def put_back(self) -> None:
        """End the visibility timeouts, so that other readers receive the messages."""
        await put_back(self._reader, self.received)

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
