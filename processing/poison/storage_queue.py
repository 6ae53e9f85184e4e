"""The poison queue in Azure Queue Storage, with claim checks for large messages."""

from __future__ import annotations

import base64
import binascii
import logging
from contextlib import suppress

from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from processing.errors import StorageUnavailableError
from processing.poison.claim_checks import ClaimChecks
from processing.poison.hold_clock import hold_time
from processing.poison.index.entry import IndexEntry
from processing.poison.index.notes import IndexNotes
from processing.poison.message import PoisonMessage
from processing.poison.queue import Hold, Received, Refusal
from processing.poison.side_by_side import side_by_side
from processing.storage.creation import create_queue

NEVER_EXPIRES = -1  # the service's default would drop messages after seven days


class StoragePoisonQueue:
    """A poison queue of base64 JSON in a storage queue.

    Args:
        queue: a client with `TextBase64EncodePolicy`, closed by the caller; the first write creates
            the queue.
        blobs: stores messages over 48 KiB; the queue then contains their claim checks.
        notes: notes each stored message in the index; None: the queue has no index.
    """

    def __init__(
        self, queue: QueueClient, blobs: ClaimChecks, notes: IndexNotes | None = None
    ) -> None:
        self._queue = queue
        self._blobs = blobs
        self._notes = notes

    async def put(self, message: PoisonMessage) -> None:
        """See `PoisonQueue.put`."""
        message = await self._blobs.shrink(message)
        text = message.to_json()
        try:
            try:
                sent = await self._queue.send_message(text, time_to_live=NEVER_EXPIRES)
            except ResourceNotFoundError:
                await create_queue(self._queue)
                sent = await self._queue.send_message(text, time_to_live=NEVER_EXPIRES)
        except AzureError as error:
            raise _unavailable(self._queue, error) from error
        if self._notes is not None:
            await self._notes.note(IndexEntry(str(sent.id), str(sent.pop_receipt), message))


logger = logging.getLogger(__name__)


PAGE = 32  # the service's limit


LOST = ("MessageNotFound", "QueueNotFound")
GONE = (*LOST, "PopReceiptMismatch")
MOST_WARNED = 1_000


class StoragePoisonReader:
    """A reader of the storage queue; see `PoisonReader`.

    A message that is not a poison message, or that a newer version wrote, is left alone with a
    warning. The reader puts it back when it has read the whole queue.

    Args:
        queue: a client with `TextBase64EncodePolicy`, closed by the caller.
        namespace: the app's namespace, for messages of 0.1, which do not name theirs.
        hold_seconds: visibility timeout of a received message.
    """

    def __init__(self, queue: QueueClient, *, namespace: str = "", hold_seconds: int = 120) -> None:
        self._queue = queue
        self._namespace = namespace
        self.hold_seconds: float = hold_seconds
        self.unreadable: set[str] = set()
        self._unreadable: list[tuple[str, str]] = []  # message id and pop receipt
        self._warned: set[str] = set()

    async def receive(self) -> list[Received]:
        """See `PoisonReader.receive`."""
        try:
            while True:
                held_until = hold_time() + self.hold_seconds
                pages = self._queue.receive_messages(
                    messages_per_page=PAGE,
                    max_messages=PAGE,
                    visibility_timeout=int(self.hold_seconds),
                )
                found = [message async for message in pages]
                received = [each for each in map(self._read, found) if each is not None]
                if received:
                    for each in received:
                        each.held_until = held_until
                    return received
                if not found:
                    await self._put_back_unreadable()
                    return []
        except ResourceNotFoundError:  # the first poison message creates the queue
            return []
        except AzureError as error:
            raise self._unavailable(error) from error

    async def take(self, entry: IndexEntry) -> Received | Refusal:
        """See `PoisonReader.take`."""
        if not entry.is_whole:
            raise ValueError(f"the index has only a part of the poison message {entry.name}")
        held_until = hold_time() + self.hold_seconds
        try:
            taken = await self._queue.update_message(
                entry.name, entry.receipt, visibility_timeout=int(self.hold_seconds)
            )
        except AzureError as error:
            code = getattr(error, "error_code", "")
            if code in GONE:
                return Refusal.GONE if code in LOST else Refusal.HELD
            raise self._unavailable(error) from error
        return Received(entry.message, entry.name, str(taken.pop_receipt), held_until=held_until)

    async def count(self) -> int:
        """See `PoisonReader.count`."""
        try:
            found = await self._queue.get_queue_properties()
        except ResourceNotFoundError:  # the first poison message creates the queue
            return 0
        except AzureError as error:
            raise self._unavailable(error) from error
        return found.approximate_message_count or 0

    async def renew(self, held: Hold) -> None:
        """See `PoisonReader.renew`."""
        await self._update(held, self.hold_seconds)

    async def _put_back_unreadable(self) -> None:
        messages, self._unreadable = self._unreadable, []

        async def one(message: tuple[str, str]) -> None:
            with suppress(AzureError):  # the visibility timeout expires
                await self._queue.update_message(*message, visibility_timeout=0)

        await side_by_side(messages, one)

    async def update(self, received: Received, message: PoisonMessage) -> None:
        """See `PoisonReader.update`."""
        received.message = message
        await self._update(received, self.hold_seconds, content=message.to_json())

    async def put_back(self, held: Hold) -> None:
        """See `PoisonReader.put_back`."""
        await self._update(held, 0)

    async def remove(self, held: Hold) -> bool:
        """See `PoisonReader.remove`."""
        async with held.lock:
            if held.gone:
                return False
            try:
                await self._queue.delete_message(held.name, held.receipt)
            except AzureError as error:
                self._mark_gone(held, error)
                return False
            held.gone = True
            return True

    async def _update(self, held: Hold, seconds: float, *, content: str | None = None) -> None:
        """Set the visibility timeout; without a content the queue keeps the message's."""
        async with held.lock:
            if held.gone:
                return
            held_until = hold_time() + seconds
            try:
                updated = await self._queue.update_message(
                    held.name,
                    held.receipt,
                    content=content,
                    visibility_timeout=int(seconds),
                )
            except AzureError as error:
                self._mark_gone(held, error)
            else:
                held.receipt = str(updated.pop_receipt)
                held.held_until = held_until

    def _mark_gone(self, held: Hold, error: AzureError) -> None:
        if isinstance(error, HttpResponseError) and getattr(error, "error_code", "") in GONE:
            held.gone = True
            logger.warning(
                "Poison message %s is no longer held here, because its visibility timeout expired; "
                "another reader may receive it",
                held.name,
            )
            return
        raise self._unavailable(error) from error

    def _unavailable(self, error: AzureError) -> StorageUnavailableError:
        return _unavailable(self._queue, error)

    def _read(self, message: QueueMessage) -> Received | None:
        try:
            text = base64.b64decode(message.content, validate=True)
            poison = PoisonMessage.from_json(text, namespace=self._namespace)
        except (binascii.Error, ValueError) as error:
            self.unreadable.add(str(message.id))
            self._unreadable.append((str(message.id), str(message.pop_receipt)))
            self._warn(str(message.id), error)
            return None
        return Received(poison, str(message.id), str(message.pop_receipt))

    def _warn(self, name: str, error: Exception) -> None:
        """Log a warning, once for each message."""
        if name in self._warned:
            return
        if len(self._warned) >= MOST_WARNED:
            self._warned.clear()
        self._warned.add(name)
        logger.warning(
            "Message %s in the poison queue is left alone, because it is not a poison message: %s",
            *(name, error),
        )


def _unavailable(queue: QueueClient, error: AzureError) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"poison queue {queue.queue_name} in the storage account {queue.account_name}: {error}"
    )
