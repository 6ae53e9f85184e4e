"""Claim checks in blobs: storage of messages that are too large for the queue."""

from __future__ import annotations

from contextlib import suppress

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import ContainerClient

from processing.errors import StorageUnavailableError
from processing.poison.claim_checks import body_lost
from processing.poison.message import ClaimCheck, PoisonMessage


class ClaimCheckBlobs:
    """A store of complete poison messages and parked events in blobs.

    Args:
        container: the container's client, closed by the caller; the first write creates the
            container.
    """

    def __init__(self, container: ContainerClient) -> None:
        self._container = container

    async def shrink(self, message: PoisonMessage) -> PoisonMessage:
        """Return a small message unchanged; store a large message and return its claim check.

        Raises:
            StorageUnavailableError: a large message could not be stored.
        """
        return message.with_claim_check(await self.put(message)) if message.is_large else message

    async def put(self, message: PoisonMessage) -> ClaimCheck:
        """Store a message; a repeat for the same event overwrites the blob.

        Raises:
            StorageUnavailableError: the message could not be stored.
        """
        return await self.put_bytes(_blob_name(message), message.to_json().encode())

    async def put_bytes(self, name: str, data: bytes) -> ClaimCheck:
        """See `ClaimChecks.put_bytes`."""
        try:
            try:
                await self._container.upload_blob(name, data, overwrite=True)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):  # another lane or instance created it first
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
    """Return the blob's name; the identity is hashed, as names may contain any character."""
    source = message.source
    name = f"{message.sequence_number}-{message.enqueued_ms}.json"
    return f"{source.identity.digest}/{source.partition}/{name}"
