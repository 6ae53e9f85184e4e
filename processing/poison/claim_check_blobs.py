"""Claim checks in blobs: storage of messages that are too large for the queue."""

from __future__ import annotations

from contextlib import suppress

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob.aio import ContainerClient

from processing.errors import StorageUnavailableError
from processing.poison.claim_checks import ClaimChecks, body_lost
from processing.poison.message import ClaimCheck
from processing.storage.creation import create_container


class ClaimCheckBlobs(ClaimChecks):
    """A store of complete poison messages and parked events in blobs.

    Args:
        container: the container's client, closed by the caller; the first write creates the
            container.
    """

    def __init__(self, container: ContainerClient) -> None:
        self._container = container

    async def write(self, name: str, data: bytes) -> ClaimCheck:
        """See `ClaimChecks.write`."""
        try:
            try:
                await self._container.upload_blob(name, data, overwrite=True)
            except ResourceNotFoundError:
                await create_container(self._container)
                await self._container.upload_blob(name, data, overwrite=True)
        except AzureError as error:
            raise StorageUnavailableError(
                f"poison blob {self._container.container_name}/{name}: {error}"
            ) from error
        return ClaimCheck(self._container.container_name, name)

    async def get_bytes(self, check: ClaimCheck, most: int | None = None) -> bytes:
        """See `ClaimChecks.get_bytes`."""
        try:
            download = await self._container.download_blob(
                check.blob, offset=None if most is None else 0, length=most
            )
            return await download.readall()
        except ResourceNotFoundError:
            raise body_lost(check) from None
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

    async def names(self, prefix: str) -> list[str]:
        """See `ClaimChecks.names`."""
        found: list[str] = []
        try:
            with suppress(ResourceNotFoundError):  # the first write creates the container
                async for name in self._container.list_blob_names(name_starts_with=prefix):
                    found.append(name)  # noqa: PERF401 - what was found before an error is not used
        except AzureError as error:
            raise StorageUnavailableError(
                f"poison blobs {self._container.container_name}/{prefix}: {error}"
            ) from error
        return found
