"""The in-memory poison queue, its reader and its claim checks, for unit tests."""

from __future__ import annotations

import asyncio
from itertools import count

from processing.errors import StorageUnavailableError
from processing.poison.claim_checks import ClaimChecks, body_lost
from processing.poison.hold_clock import hold_time
from processing.poison.index.entry import IndexEntry
from processing.poison.index.notes import IndexNotes
from processing.poison.message import INLINE_BYTES, ClaimCheck, PoisonMessage
from processing.poison.queue import Hold, Received, Refusal


class MemoryPoisonReader:
    """A reader of a `MemoryPoisonQueue`, whose visibility timeouts do not expire.

    Each method first lets other tasks run, as a network round trip would.
    """

    hold_seconds = 3600.0
    unreadable = ()

    def __init__(self, queue: MemoryPoisonQueue) -> None:
        self._queue = queue

    async def receive(self) -> list[Received]:
        """See `PoisonReader.receive`."""
        await asyncio.sleep(0)
        free = [
            message
            for message in self._queue.messages
            if self._queue.name_of(message) not in self._queue.holds
        ]
        return [self._hold(message) for message in free[:32]]

    async def take(self, entry: IndexEntry) -> Received | Refusal:
        """See `PoisonReader.take`."""
        if not entry.is_whole:
            raise ValueError(f"the index has only a part of the poison message {entry.name}")
        await asyncio.sleep(0)
        for message in self._queue.messages:
            if self._queue.name_of(message) == entry.name:
                if self._queue.receipt_of(entry.name) != entry.receipt:
                    return Refusal.HELD
                return self._hold(message)
        return Refusal.GONE

    async def count(self) -> int:
        """See `PoisonReader.count`."""
        await asyncio.sleep(0)
        return len(self._queue.messages)

    async def renew(self, held: Hold) -> None:
        """See `PoisonReader.renew`."""
        await asyncio.sleep(0)
        if self._index(held) is not None:
            self._renew(held)

    async def update(self, received: Received, message: PoisonMessage) -> None:
        """See `PoisonReader.update`."""
        await asyncio.sleep(0)
        if (index := self._index(received)) is not None:
            self._queue.replace(index, stored(message))
            received.message = self._queue.messages[index]
            self._renew(received)

    def expire_holds(self) -> None:
        """Expire all visibility timeouts."""
        for received in self._queue.holds.values():
            received.held_until = 0.0
        self._queue.holds.clear()

    async def put_back(self, held: Hold) -> None:
        """See `PoisonReader.put_back`."""
        await asyncio.sleep(0)
        if self._index(held) is not None:
            self._renew(held)
            held.held_until = 0.0
            self._queue.holds.pop(held.name, None)

    async def remove(self, held: Hold) -> bool:
        """See `PoisonReader.remove`."""
        await asyncio.sleep(0)
        if held.gone or (index := self._index(held)) is None:
            return False
        del self._queue.messages[index]
        self._queue.holds.pop(held.name, None)
        held.gone = True
        return True

    def _hold(self, message: PoisonMessage) -> Received:
        received = Received(message, self._queue.name_of(message), "")
        self._renew(received)
        return received

    def _renew(self, held: Hold) -> None:
        held.receipt = self._queue.new_receipt(held.name)
        held.held_until = hold_time() + self.hold_seconds
        self._queue.holds[held.name] = held

    def _index(self, held: Hold) -> int | None:
        if self._queue.receipt_of(held.name) == held.receipt:
            for index, message in enumerate(self._queue.messages):
                if self._queue.name_of(message) == held.name:
                    return index
        held.gone = True
        return None


class MemoryClaimChecks(ClaimChecks):
    """A store of claim checks in a dictionary."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    async def write(self, name: str, data: bytes) -> ClaimCheck:
        """See `ClaimChecks.write`."""
        self.blobs[name] = data
        return ClaimCheck("memory", name)

    async def get_bytes(self, check: ClaimCheck, most: int | None = None) -> bytes:
        """See `ClaimChecks.get_bytes`."""
        if check.blob not in self.blobs:
            raise body_lost(check)
        return self.blobs[check.blob][:most]

    async def delete(self, check: ClaimCheck) -> None:
        """See `ClaimChecks.delete`."""
        self.blobs.pop(check.blob, None)

    async def names(self, prefix: str) -> list[str]:
        """See `ClaimChecks.names`."""
        return [name for name in self.blobs if name.startswith(prefix)]


class MemoryPoisonQueue:
    """A poison queue in a list, with the service's limit on a message's size.

    Args:
        claims: stores messages that are too large for the queue; None: a store of its own.
        notes: notes each message in the index; None: the queue has no index.

    Attributes:
        messages: the messages, oldest first.
        holds: the messages that a reader holds, by name.
    """

    def __init__(self, claims: ClaimChecks | None = None, notes: IndexNotes | None = None) -> None:
        self._notes = notes
        self.messages: list[PoisonMessage] = []
        self.holds: dict[str, Hold] = {}
        self._claims = claims or MemoryClaimChecks()
        self._numbers = count(1)
        self._receipts: dict[str, str] = {}
        # By identity, because two messages of one event may be equal. Each message is kept here, so
        # that no other object has its identity.
        self._names: dict[int, tuple[str, PoisonMessage]] = {}

    async def put(self, message: PoisonMessage) -> None:
        """See `PoisonQueue.put`."""
        self.messages.append(stored(await self._claims.shrink(message)))
        if self._notes is not None:
            await self._notes.note(self.entry_of(self.messages[-1]))

    def entry_of(self, message: PoisonMessage) -> IndexEntry:
        """Return the index entry of a message in the queue, with its latest receipt."""
        name = self.name_of(message)
        return IndexEntry(name, self.receipt_of(name), message)

    def name_of(self, message: PoisonMessage) -> str:
        """Return the queue's message id; two messages of one event have different ones."""
        if id(message) not in self._names:
            self._names[id(message)] = f"message-{next(self._numbers)}", message
        return self._names[id(message)][0]

    def receipt_of(self, name: str) -> str:
        """Return the latest pop receipt of a message."""
        return self._receipts.get(name) or self.new_receipt(name)

    def new_receipt(self, name: str) -> str:
        """Return a new pop receipt of a message; earlier ones are no longer valid."""
        receipt = self._receipts[name] = f"receipt-{next(self._numbers)}"
        return receipt

    def replace(self, index: int, message: PoisonMessage) -> None:
        """Replace a message by another one with the same name."""
        name = self.name_of(self.messages[index])
        self.messages[index] = message
        self._names[id(message)] = name, message


def stored(message: PoisonMessage) -> PoisonMessage:
    """Return the message as the queue stores it.

    Raises:
        StorageUnavailableError: the message is larger than the service's limit.
    """
    text = message.to_json()
    if (size := len(text.encode())) > INLINE_BYTES:
        raise StorageUnavailableError(
            f"poison queue memory: a message of {size} bytes is too large"
        )
    return PoisonMessage.from_json(text)
