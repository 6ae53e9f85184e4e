"""The in-memory poison queue, its reader and its claim checks, for unit tests."""

from __future__ import annotations

import asyncio

from processing.errors import StorageUnavailableError
from processing.poison.claim_checks import ClaimChecks, body_lost
from processing.poison.message import INLINE_BYTES, ClaimCheck, PoisonMessage
from processing.poison.queue import Received


class MemoryPoisonReader:
    """A reader of a `MemoryPoisonQueue`, whose visibility timeouts do not expire.

    Each method first lets other tasks run, as a network round trip would.
    """

    hold_seconds = 3600.0

    def __init__(self, queue: MemoryPoisonQueue) -> None:
        self._queue = queue
        self._held: list[PoisonMessage] = []

    async def receive(self) -> list[Received]:
        """See `PoisonReader.receive`."""
        await asyncio.sleep(0)
        free = [
            message
            for message in self._queue.messages
            if not any(message is held for held in self._held)
        ]
        self._held += free[:32]
        return [Received(message, message.id, "") for message in free[:32]]

    async def renew(self, received: Received) -> None:
        """See `PoisonReader.renew`."""
        await asyncio.sleep(0)
        self._index(received)

    async def update(self, received: Received, message: PoisonMessage) -> None:
        """See `PoisonReader.update`."""
        await asyncio.sleep(0)
        if (index := self._index(received)) is not None:
            self._release(received)
            self._queue.messages[index] = received.message = stored(message)
            self._held.append(received.message)

    def expire_holds(self) -> None:
        """Expire all visibility timeouts."""
        self._held.clear()

    async def put_back(self, received: Received) -> None:
        """See `PoisonReader.put_back`."""
        await asyncio.sleep(0)
        self._release(received)

    async def remove(self, received: Received) -> bool:
        """See `PoisonReader.remove`."""
        await asyncio.sleep(0)
        if received.gone or (index := self._index(received)) is None:
            return False
        del self._queue.messages[index]
        self._release(received)
        received.gone = True
        return True

    def _index(self, received: Received) -> int | None:
        for index, message in enumerate(self._queue.messages):
            if message is received.message:
                return index
        received.gone = True
        return None

    def _release(self, received: Received) -> None:
        self._held = [held for held in self._held if held is not received.message]


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
    """

    def __init__(self, claims: ClaimChecks | None = None) -> None:
        self.messages: list[PoisonMessage] = []
        self._claims = claims or MemoryClaimChecks()

    async def put(self, message: PoisonMessage) -> None:
        """See `PoisonQueue.put`."""
        self.messages.append(stored(await self._claims.shrink(message)))


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
