"""Claim checks: poison messages too large for the queue, in a blob named after their event."""

from __future__ import annotations

import hashlib
from contextlib import suppress

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import ContainerClient

from processing.errors import StorageUnavailableError
from processing.poison.claim_checks import body_lost
from processing.poison.message import ClaimCheck, PoisonMessage


class ClaimCheckBlobs:
    """Whole poison messages as blobs.

    Args:
        container: the container's client; made at the first use if it does not exist. Closing it
            stays the caller's.
    """

    def __init__(self, container: ContainerClient) -> None:
        self._container = container

    async def shrink(self, message: PoisonMessage) -> PoisonMessage:
        """The message as it fits into the queue: itself, or its claim check.

        Raises:
            StorageUnavailableError: the container did not take a large one.
        """
        return message.checked_in(await self.put(message)) if message.is_large else message

    async def put(self, message: PoisonMessage) -> ClaimCheck:
        """Store a message; a repeat of the same event overwrites itself.

        Raises:
            StorageUnavailableError: the container did not take it.
        """
        return await self.put_bytes(_blob_name(message), message.to_json().encode())

    async def put_bytes(self, name: str, data: bytes) -> ClaimCheck:
        """See `ClaimChecks.put_bytes`."""
        try:
            try:
                await self._container.upload_blob(name, data, overwrite=True)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):  # another lane, or instance, was faster
                    await self._container.create_container()
                await self._container.upload_blob(name, data, overwrite=True)
        except AzureError as error:
            raise StorageUnavailableError(
                f"poison blob {self._container.container_name}/{name}: {error}"
            ) from error
        return ClaimCheck(self._container.container_name, name)

    async def get_bytes(self, check: ClaimCheck) -> bytes:
        """See `ClaimChecks.get_bytes`."""
        try:
            download = await self._container.download_blob(check.blob)
            return await download.readall()
        except ResourceNotFoundError:
            raise body_lost(check) from None
        except AzureError as error:
            raise StorageUnavailableError(
                f"poison blob {check.container}/{check.blob}: {error}"
            ) from error

    async def has(self, check: ClaimCheck) -> bool:
        """See `ClaimChecks.has`."""
        try:
            return await self._container.get_blob_client(check.blob).exists()
        except AzureError as error:
            raise StorageUnavailableError(
                f"poison blob {check.container}/{check.blob}: {error}"
            ) from error

    async def delete(self, check: ClaimCheck) -> None:
        """See `ClaimChecks.delete`."""
        try:
            with suppress(ResourceNotFoundError):
                await self._container.delete_blob(check.blob)
        except AzureError as error:
            raise StorageUnavailableError(
                f"poison blob {check.container}/{check.blob}: {error}"
            ) from error


def _blob_name(message: PoisonMessage) -> str:
    """The event's name; the hub's and group's part hashed, for they may hold any character."""
    source = message.source
    stream = hashlib.sha256(f"{source.hub}/{source.consumer_group}".encode()).hexdigest()[:16]
    return f"{stream}/{source.partition}/{message.sequence_number}-{message.enqueued_ms}.json"
