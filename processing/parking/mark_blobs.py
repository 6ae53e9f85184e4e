"""Marks in blobs, in the container of the claim checks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob.aio import ContainerClient

from processing.errors import StorageUnavailableError
from processing.identity import Source
from processing.parking.marks import MarkConflictError, ParkingMark, StoredMark, parse
from processing.storage.creation import create_container


class MarkBlobs:
    """A store of marks in blobs, one per partition.

    Args:
        container: the container's client, closed by the caller; the first write creates the
            container.
    """

    def __init__(self, container: ContainerClient) -> None:
        self._container = container

    async def read(self, source: Source) -> StoredMark | None:
        """See `MarkStore.read`."""
        name = _blob_name(source)
        with self._errors_mapped(name):
            try:
                download = await self._container.download_blob(name)
                data = await download.readall()
            except ResourceNotFoundError:  # no blob, or no container yet
                return None
        found = download.properties
        return parse(
            data,
            source,
            place=self._place(name),
            etag=str(found.etag),
            written_at=found.last_modified.timestamp(),
        )

    async def write(self, mark: ParkingMark, etag: str | None) -> StoredMark:
        """See `MarkStore.write`."""
        name = _blob_name(mark.source)
        condition: dict[str, Any] = {"overwrite": False}
        if etag is not None:
            condition = {
                "overwrite": True,
                "etag": etag,
                "match_condition": MatchConditions.IfNotModified,
            }
        with self._errors_mapped(name):
            stored = await self._upload(name, mark.to_json().encode(), condition)
        return StoredMark(mark, str(stored["etag"]))

    async def delete(self, source: Source, etag: str) -> None:
        """See `MarkStore.delete`."""
        name = _blob_name(source)
        blob = self._container.get_blob_client(name)
        with self._errors_mapped(name), suppress(ResourceNotFoundError):
            try:
                await blob.delete_blob(etag=etag, match_condition=MatchConditions.IfNotModified)
            except ResourceModifiedError:
                if await blob.exists():  # the condition fails, too, if there is no blob
                    raise

    async def record_drop(self, source: Source, name: str, record: str) -> None:
        """See `MarkStore.record_drop`."""
        blob = f"marks/dropped/{source.identity.digest}/{source.partition}/{name}.json"
        with self._errors_mapped(blob):
            await self._upload(blob, record.encode(), {"overwrite": True})

    async def _upload(self, name: str, data: bytes, condition: dict[str, Any]) -> dict[str, Any]:
        blob = self._container.get_blob_client(name)
        try:
            return await blob.upload_blob(data, **condition)
        except ResourceNotFoundError:
            if "etag" in condition:
                raise  # the blob was deleted
            await create_container(self._container)
            return await blob.upload_blob(data, **condition)

    def _place(self, name: str) -> str:
        return f"blob {self._container.container_name}/{name}"

    @contextmanager
    def _errors_mapped(self, name: str) -> Iterator[None]:
        try:
            yield
        except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError) as error:
            raise MarkConflictError(f"{self._place(name)} has changed: {error}") from error
        except AzureError as error:
            raise StorageUnavailableError(f"{self._place(name)}: {error}") from error


def _blob_name(source: Source) -> str:
    """Return the blob's name; the identity is hashed, as names may contain any character."""
    return f"marks/{source.identity.digest}/{source.partition}.json"
