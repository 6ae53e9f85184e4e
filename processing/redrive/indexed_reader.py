"""A reader of the poison queue that keeps the queue's index up to date, in bulk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

from processing.errors import StorageUnavailableError
from processing.poison.hold_clock import hold_time
from processing.poison.index.entry import IndexEntry
from processing.poison.index.index import PoisonIndex
from processing.poison.message import PoisonMessage
from processing.poison.queue import Hold, PoisonReader, Received
from processing.poison.side_by_side import side_by_side
from processing.redrive.window import LEAST_AT_ONCE, WINDOW, Window

logger = logging.getLogger(__name__)

AT_ONCE = 200
"""Number of changes that are written to the index together."""


class IndexedReader:
    """A reader that notes each change of a message in the index; see `PoisonReader`.

    The index gets the receipt of a message only when the message is put back, or at the end. While
    the redrive works on a message, nobody can take the message by the index. An index that cannot
    be written is left as it is; its next comparison with the queue repairs it.

    Args:
        reader: reads the queue.
        index: the queue's index; None: there is none.
        most: greatest number of messages that are held with their bodies.

    Attributes:
        window: the number of messages to hold.
        removed: names of the removed messages that the index may still have.
        lost: names of the messages that could not be removed, because their hold had expired.
    """

    def __init__(
        self, reader: PoisonReader, index: PoisonIndex | None, *, most: int = WINDOW
    ) -> None:
        self._reader = reader
        self._index = index
        self.removed: set[str] = set()
        self._receipts: dict[str, str] = {}
        self._flush_at = AT_ONCE
        self.hold_seconds = reader.hold_seconds
        self.receive = reader.receive
        self.count = reader.count
        self.window = Window(most, reader.hold_seconds)
        # All take as long as a renewal, and no message is received without a removal or a renewal.
        self.renew = self.window.measured(reader.renew)
        self._take = self.window.measured(reader.take)
        self._remove = self.window.measured(reader.remove)
        self.lost: set[str] = set()

    @property
    def unreadable(self) -> Collection[str]:
        """See `PoisonReader.unreadable`."""
        return self._reader.unreadable

    async def take(self, entry: IndexEntry) -> Received | None:
        """Hold a message; None: the receipt is not the latest one. See `PoisonReader.take`.

        Some services answer to an old receipt that there is no such message. So only a comparison
        with the whole queue removes an entry whose message is gone.
        """
        if not entry.receipt:  # a redrive that was cut off had changed the message
            return None
        taken = await self._take(entry)
        return taken if isinstance(taken, Received) else None

    async def take_all(
        self,
        entries: Sequence[IndexEntry],
        taken: Callable[[Received | None], None],
        goes_on: Callable[[], bool],
    ) -> None:
        """Take messages side by side; the first few show the speed of the storage.

        Args:
            entries: the messages.
            taken: called with what `take` has returned for each entry.
            goes_on: returns whether to take another message.
        """

        async def one(entry: IndexEntry) -> None:
            taken(await self.take(entry))

        for part in (entries[:LEAST_AT_ONCE], entries[LEAST_AT_ONCE:]):
            await side_by_side(part, one, most=self.window.at_once, goes_on=goes_on)

    async def update(self, received: Received, message: PoisonMessage) -> None:
        """See `PoisonReader.update`; the index gets the new message, without a receipt."""
        await self._reader.update(received, message)
        if self._index is None or received.gone:
            return
        try:
            await self._index.put([IndexEntry(received.name, "", message, received.where)])
        except StorageUnavailableError as error:
            self._give_up(error)

    async def put_back(self, held: Hold) -> None:
        """See `PoisonReader.put_back`; a hold that has expired needs no call.

        Then another reader may have noted a newer receipt.
        """
        if held.held_until <= hold_time():
            return
        await self._reader.put_back(held)
        if not held.gone:
            self._receipts[held.name] = held.receipt
            if len(self._receipts) >= AT_ONCE:
                await self.flush()

    def note_held(self, held: Hold) -> None:
        """Note the receipt of a message that is not put back, for when its hold has expired."""
        if not held.gone and held.held_until > hold_time():
            self._receipts[held.name] = held.receipt

    async def remove(self, held: Hold) -> bool:
        """See `PoisonReader.remove`."""
        if removed := await self._remove(held):
            await self._note_removal(held.name)
        else:
            self.lost.add(held.name)
        return removed

    async def flush(self) -> None:
        """Write the changes to the index that are not written yet."""
        receipts, self._receipts = self._receipts, {}
        removed = frozenset(self.removed)
        if self._index is None:
            self.removed.clear()
            return
        try:
            if receipts:
                await self._index.set_receipts(receipts)
            if removed:
                await self._index.remove(removed)
                self.removed -= removed
        except StorageUnavailableError as error:
            self._give_up(error)

    async def _note_removal(self, name: str) -> None:
        self._receipts.pop(name, None)
        self.removed.add(name)
        if len(self.removed) >= self._flush_at:
            self._flush_at = len(self.removed) + AT_ONCE
            await self.flush()
            self._flush_at = len(self.removed) + AT_ONCE

    def _give_up(self, error: StorageUnavailableError) -> None:
        self._index = None
        logger.warning(
            "The index of the poison queue misses the changes of this redrive: %s; the next "
            "comparison with the queue repairs it",
            error,
        )
