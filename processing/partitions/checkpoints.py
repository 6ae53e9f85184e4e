"""The host's checkpoints and partition ownership, in blobs, where the Event Hubs extension and the
SDKs keep them: `<namespace>/<hub>/<consumer group>/checkpoint|ownership/<partition>`, lower-cased,
with their contents in metadata.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import ContainerClient

from processing.errors import StorageUnavailableError

CONTAINER = "azure-webjobs-eventhub"
START_OF_STREAM = "-1"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The last event that the host will not deliver again; offset "-1": it delivers from the
    hub's first event on.
    """

    sequence_number: int
    offset: str


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who receives from a partition, and how long ago it last said so."""

    partition: str
    owner: str
    age_seconds: float


class HostCheckpoints:
    """Checkpoints and ownership of one hub, as one consumer group reads it.

    Args:
        container: the container `azure-webjobs-eventhub`; closing it stays the caller's.
        namespace: fully qualified.
    """

    def __init__(self, container: ContainerClient, *, namespace: str, hub: str, group: str) -> None:
        self._container = container
        self._prefix = f"{namespace}/{hub}/{group}".lower()

    async def read(self, partition: str) -> Checkpoint | None:
        """A partition's checkpoint, if it has one.

        Raises:
            StorageUnavailableError: the container can't be read.
            ValueError: the blob is there and is no checkpoint.
        """
        async with self._answered():
            blob = self._container.get_blob_client(self._name("checkpoint", partition))
            with suppress(ResourceNotFoundError):
                metadata = (await blob.get_blob_properties()).metadata
                try:
                    return Checkpoint(int(metadata["sequencenumber"]), metadata["offset"])
                except (KeyError, ValueError):
                    raise ValueError(
                        f"the checkpoint of partition {partition} is of another form: {metadata}"
                    ) from None
        return None

    async def write(self, partition: str, checkpoint: Checkpoint) -> None:
        """Set a partition's checkpoint.

        Raises:
            StorageUnavailableError: the container did not take it.
        """
        metadata = {
            "offset": checkpoint.offset,
            "sequencenumber": str(checkpoint.sequence_number),
        }
        async with self._answered():
            with suppress(ResourceExistsError):
                await self._container.create_container()
            blob = self._container.get_blob_client(self._name("checkpoint", partition))
            await blob.upload_blob(b"", overwrite=True, metadata=metadata)

    async def owners(self) -> list[Ownership]:
        """Who owns partitions, or did until its lease ran out.

        Raises:
            StorageUnavailableError: the container can't be read.
        """
        found: list[Ownership] = []
        async with self._answered():
            with suppress(ResourceNotFoundError):
                async for blob in self._container.list_blobs(
                    name_starts_with=f"{self._prefix}/ownership/", include=["metadata"]
                ):
                    owner = (blob.metadata or {}).get("ownerid", "")
                    if owner and blob.last_modified is not None:
                        age = (datetime.now(UTC) - blob.last_modified).total_seconds()
                        found.append(Ownership(blob.name.rpartition("/")[2], owner, age))
        return found

    def _name(self, kind: str, partition: str) -> str:
        return f"{self._prefix}/{kind}/{partition}"

    @asynccontextmanager
    async def _answered(self) -> AsyncIterator[None]:
        try:
            yield
        except AzureError as error:
            raise StorageUnavailableError(
                f"container {self._container.container_name}: {error}"
            ) from error
