"""Poison messages and claim checks in two storage accounts, the app's and the host's.

An app that had one account keeps finding the data that the app has stored in the host's account.
New data goes to the app's account only.
"""

from __future__ import annotations

from collections.abc import Collection

from processing.errors import BodyLostError
from processing.poison.claim_checks import ClaimChecks
from processing.poison.index.entry import IndexEntry
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.poison.queue import HOST, Hold, PoisonReader, Received, Refusal


class PoisonReaderOfTwo:
    """A reader of the poison queues of both accounts; see `PoisonReader`.

    A message stays in the queue from which the reader received it. The reader does not read the
    app's queue again while the host's queue returns pages, until a message is put back.

    Args:
        app: reads the queue in the app's account, which is read first.
        host: reads the queue in the host's account.
    """

    def __init__(self, app: PoisonReader, host: PoisonReader) -> None:
        self._app = app
        self._host = host
        self._app_is_empty = False
        self.hold_seconds = min(app.hold_seconds, host.hold_seconds)

    @property
    def unreadable(self) -> Collection[str]:
        """See `PoisonReader.unreadable`."""
        return [*self._app.unreadable, *self._host.unreadable]

    async def receive(self) -> list[Received]:
        """See `PoisonReader.receive`."""
        readers = (self._host,) if self._app_is_empty else (self._app, self._host)
        self._app_is_empty = False  # also if a queue fails, or if both queues are empty
        for reader in readers:
            if received := await reader.receive():
                self._app_is_empty = reader is self._host
                return self._named(received, reader)
        return []

    async def take(self, entry: IndexEntry) -> Received | Refusal:
        """See `PoisonReader.take`."""
        reader = self._reader(entry.where)
        taken = await reader.take(entry)
        return taken if isinstance(taken, Refusal) else self._named([taken], reader)[0]

    async def count(self) -> int:
        """See `PoisonReader.count`; the sum of both accounts."""
        return await self._app.count() + await self._host.count()

    def _named(self, received: list[Received], reader: PoisonReader) -> list[Received]:
        for each in received:
            each.where = HOST if reader is self._host else ""
        return received

    def _reader(self, where: str) -> PoisonReader:
        return self._host if where == HOST else self._app

    async def renew(self, held: Hold) -> None:
        """See `PoisonReader.renew`."""
        await self._reader(held.where).renew(held)

    async def update(self, received: Received, message: PoisonMessage) -> None:
        """See `PoisonReader.update`."""
        await self._reader(received.where).update(received, message)

    async def put_back(self, held: Hold) -> None:
        """See `PoisonReader.put_back`."""
        self._app_is_empty = False
        await self._reader(held.where).put_back(held)

    async def remove(self, held: Hold) -> bool:
        """See `PoisonReader.remove`."""
        return await self._reader(held.where).remove(held)


class ClaimChecksOfTwo(ClaimChecks):
    """The claim checks of both accounts; see `ClaimChecks`.

    A blob is looked up in the app's account first, because a repeated write goes there.

    Args:
        app: the claim checks in the app's account.
        host: the claim checks in the host's account.
    """

    def __init__(self, app: ClaimChecks, host: ClaimChecks) -> None:
        self._app = app
        self._host = host

    async def write(self, name: str, data: bytes) -> ClaimCheck:
        """See `ClaimChecks.write`."""
        return await self._app.write(name, data)

    async def get_bytes(self, check: ClaimCheck, most: int | None = None) -> bytes:
        """See `ClaimChecks.get_bytes`."""
        try:
            return await self._app.get_bytes(check, most)
        except BodyLostError:
            return await self._host.get_bytes(check, most)

    async def delete(self, check: ClaimCheck) -> None:
        """See `ClaimChecks.delete`; blobs of one name, in both accounts, belong to the same event.

        The copy in the host's account is deleted first, because the app's copy may be newer.
        """
        await self._host.delete(check)
        await self._app.delete(check)

    async def names(self, prefix: str) -> list[str]:
        """See `ClaimChecks.names`; a name that both accounts have is returned once."""
        return sorted({*await self._app.names(prefix), *await self._host.names(prefix)})
