"""The host's checkpoints and partition ownership, which the Event Hubs extension stores in blobs.

A blob's name is `<namespace>/<hub>/<consumer group>/checkpoint|ownership/<partition>`, lower-cased.
The blob's metadata contain the values.
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
    """A checkpoint: the last event that the host will not deliver again.

    Attributes:
        offset: the service's opaque position; "-1": the host delivers from the first event.
    """

    sequence_number: int
    offset: str


@dataclass(frozen=True, slots=True)
class Ownership:
    """The ownership of a partition.

    Attributes:
        owner: id of the receiver.
        age_seconds: time since the receiver's last renewal.
    """

    partition: str
    owner: str
    age_seconds: float


class HostCheckpoints:
    """The checkpoints and ownerships of one hub and consumer group.

    Args:
        container: the container `azure-webjobs-eventhub`, closed by the caller.
        namespace: the namespace's fully qualified host name.
    """

    def __init__(self, container: ContainerClient, *, namespace: str, hub: str, group: str) -> None:
        self._container = container
        self._prefix = f"{namespace}/{hub}/{group}".lower()

    async def read(self, partition: str) -> Checkpoint | None:
        """Return a partition's checkpoint, or None if there is none.

        Raises:
            StorageUnavailableError: the container cannot be read.
            ValueError: the blob exists but is not a checkpoint.
        """
        async with self._errors_mapped():
            blob = self._container.get_blob_client(self._name("checkpoint", partition))
            with suppress(ResourceNotFoundError):
                metadata = (await blob.get_blob_properties()).metadata
                try:
                    return Checkpoint(int(metadata["sequencenumber"]), metadata["offset"])
                except (KeyError, ValueError):
                    raise ValueError(
                        f"the checkpoint of partition {partition} has the metadata {metadata}; "
                        "it takes sequencenumber (a number) and offset"
                    ) from None
        return None

    async def write(self, partition: str, checkpoint: Checkpoint) -> None:
        """Set a partition's checkpoint.

        Raises:
            StorageUnavailableError: the checkpoint could not be written.
        """
        metadata = {
            "offset": checkpoint.offset,
            "sequencenumber": str(checkpoint.sequence_number),
        }
        async with self._errors_mapped():
            with suppress(ResourceExistsError):
                await self._container.create_container()
            blob = self._container.get_blob_client(self._name("checkpoint", partition))
            await blob.upload_blob(b"", overwrite=True, metadata=metadata)

    async def owners(self) -> list[Ownership]:
        """Return all ownerships, including expired ones.

        Raises:
            StorageUnavailableError: the container cannot be read.
        """
        found: list[Ownership] = []
        async with self._errors_mapped():
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
    async def _errors_mapped(self) -> AsyncIterator[None]:
        try:
            yield
        except AzureError as error:
            raise StorageUnavailableError(
                f"container {self._container.container_name}: {error}"
            ) from error
