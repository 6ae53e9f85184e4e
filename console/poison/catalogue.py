"""Cached list of the messages in the poison queue."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from console.backplane.coordination import Coordination
from console.errors import OperationsError
from console.poison.lazy_operations import translate_errors

if TYPE_CHECKING:
    from processing.identity import Identity
    from processing.operations import PoisonStorage
    from processing.poison.message import PoisonMessage
    from processing.poison.queue import PoisonReader, Received

BROWSE = "browse"
"""Lease for receiving the queue's messages; two readers at once would each see half of them."""
BROWSE_SECONDS = 30.0
WAIT_SECONDS = 5.0
FRESH_SECONDS = 2.0
MOST = 1_000


class Catalogue:
    """The messages of the poison queue, at most `FRESH_SECONDS` old unless another job holds them.

    Peeking at a storage queue returns at most 32 messages, so the catalogue receives all messages
    and puts them back. A lease admits one reader at a time, and none during a redrive.

    Args:
        storage: opens the queue.
        coordination: holds the lease `BROWSE`; all consoles over the queue share it.
        version: changes when a redrive may have changed the queue.

    Attributes:
        coordination: see above.
        read_at: when the messages were read, seconds since 1970; 0: never.
    """

    def __init__(
        self,
        storage: Callable[[], Awaitable[PoisonStorage]],
        coordination: Coordination,
        version: Callable[[], object] = lambda: None,
    ) -> None:
        self._storage = storage
        self.coordination = coordination
        self._version = version
        self._read_for: object = None
        self._turn = asyncio.Lock()
        self._messages: list[PoisonMessage] = []
        self._more = False
        self._until = self.read_at = 0.0

    async def messages(self, *, fresh: bool = False) -> tuple[list[PoisonMessage], bool]:
        """Return the first messages, oldest first, and whether there are more.

        Args:
            fresh: whether to bypass the cache, if no other job holds the queue.

        Raises:
            OperationsError: the queue cannot be read, or another job holds the queue and no earlier
                result exists.
        """
        async with self._turn:
            if fresh or time.monotonic() >= self._until or self._version() != self._read_for:
                await self._read()
        return self._messages, self._more

    async def own(self) -> Identity:
        """Return the console's app; the queue may also have messages of other apps."""
        return (await self._storage()).own

    async def _read(self) -> None:
        storage = await self._storage()
        token = secrets.token_hex(8)
        deadline = time.monotonic() + WAIT_SECONDS
        while not await self.coordination.acquire(BROWSE, token, BROWSE_SECONDS):
            if self.read_at:
                return  # keep the last result while another job holds the queue
            if time.monotonic() > deadline:
                raise OperationsError(
                    "another reader or a redrive holds the poison queue; try again later"
                )
            await asyncio.sleep(0.1)
        try:
            version, now = self._version(), time.time()
            self._messages, self._more = await translate_errors(browse(storage.reader, MOST))
            self._read_for, self.read_at = version, now
            self._until = time.monotonic() + FRESH_SECONDS
        finally:
            await self.coordination.release(BROWSE, token)


async def browse(reader: PoisonReader, most: int) -> tuple[list[PoisonMessage], bool]:
    """Return the messages that no other reader holds, oldest first, and whether there are more.

    Raises:
        StorageUnavailableError: the queue cannot be read.
    """
    from processing.poison.queue import oldest_first, put_back  # noqa: PLC0415 - loaded by now

    held: list[Received] = []
    more = False
    try:
        while not more and (some := await reader.receive()):
            held += some
            more = len(held) >= most
    finally:
        await put_back(reader, held)
    return oldest_first(each.message for each in held), more
