"""The poison queue in Azure Queue Storage, with claim checks for what is too large for it."""

from __future__ import annotations

from contextlib import suppress

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient

from processing.poison.claim_check_blobs import ClaimCheckBlobs
from processing.errors import StorageUnavailableError
from processing.poison.message import PoisonMessage

NEVER_EXPIRES = -1  # the service's default would drop messages after seven days


class StoragePoisonQueue:
    """Poison messages as base64 JSON in a storage queue.

    Args:
        queue: a client with `TextBase64EncodePolicy`; the queue is made at the first use if it
            does not exist. Closing it stays the caller's.
        blobs: where messages over 48 KiB go; the queue then holds their claim check.
    """

    def __init__(self, queue: QueueClient, blobs: ClaimCheckBlobs) -> None:
        self._queue = queue
        self._blobs = blobs

    async def put(self, message: PoisonMessage) -> None:
        """See `PoisonQueue.put`."""
        text = (await self._blobs.shrink(message)).to_json()
        try:
            try:
                await self._queue.send_message(text, time_to_live=NEVER_EXPIRES)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):  # another lane, or instance, was faster
                    await self._queue.create_queue()
                await self._queue.send_message(text, time_to_live=NEVER_EXPIRES)
        except AzureError as error:
            raise StorageUnavailableError(
                f"poison queue {self._queue.queue_name}: {error}"
            ) from error
