"""The host's checkpoints and partition ownership, which the Event Hubs extension stores in blobs.

A blob's name is `<namespace>/<hub>/<consumer group>/checkpoint|ownership/<partition>`, lower-cased.
The blob's metadata contain the values.

A running host keeps its position in memory, and would overwrite a checkpoint that another process
has written. `HostCheckpoints.write` is the only writer of this project. It refuses to write while a
host owns the partition.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import ContainerClient

from processing.errors import AppRunningError, CheckpointUnreadableError, StorageUnavailableError

CONTAINER = "azure-webjobs-eventhub"
START_OF_STREAM = "-1"
LEASE_SECONDS = 120.0
"""The time after which the Event Hubs extension's ownership expires if it is not renewed."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint: the last event that the host will not deliver again.

    Attributes:
        offset: the service's opaque position; "-1": the host delivers from the first event; "": the
            host delivers from the event after `sequence_number`.
        written_ms: time of the write by the storage's clock in whole seconds, in milliseconds since
            1970; 0: not known.
    """

    sequence_number: int
    offset: str
    written_ms: int = field(default=0, compare=False)

    def is_older_than(self, created_ms: int) -> bool:
        """Return whether the checkpoint was written before a hub was created.

        Args:
            created_ms: time at which the hub was created, milliseconds since 1970.
        """
        # The storage's clock has whole seconds; 0: the time of the write is not known.
        return 0 < self.written_ms < created_ms - 1000


@dataclass(frozen=True, slots=True)
class Ownership:
    """The ownership of a partition.

    Attributes:
        owner: id of the receiver.
        age_seconds: time since the receiver's last renewal, by the clock of the storage.
    """

    partition: str
    owner: str
    age_seconds: float

    @property
    def is_fresh(self) -> bool:
        """True while the receiver may still run."""
        return self.age_seconds < LEASE_SECONDS


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
            CheckpointUnreadableError: the blob exists but has no sequence number.
        """
        async with self._errors_mapped():
            blob = self._container.get_blob_client(self._name("checkpoint", partition))
            with suppress(ResourceNotFoundError):
                found = await blob.get_blob_properties()
                metadata, written = found.metadata, found.last_modified
                written_ms = 0 if written is None else int(written.timestamp() * 1000)
                try:
                    # The extension also accepts a checkpoint without an offset.
                    number, offset = int(metadata["sequencenumber"]), metadata.get("offset", "")
                    return Checkpoint(number, offset, written_ms)
                except (KeyError, ValueError):
                    raise CheckpointUnreadableError(
                        f"the checkpoint of partition {partition} has the metadata {metadata}; "
                        "it takes sequencenumber (a number) and offset"
                    ) from None
        return None

    async def refuse_while_owned(self, partitions: Collection[str]) -> None:
        """Return if no host owns one of the partitions.

        Raises:
            AppRunningError: a host owns a partition, or owned it less than `LEASE_SECONDS` ago.
            StorageUnavailableError: the container cannot be read.
        """
        if fresh := await self.fresh_owners(partitions):
            raise AppRunningError(_running(fresh))

    async def fresh_owners(self, partitions: Collection[str]) -> list[Ownership]:
        """Return the ownerships of the partitions that have not expired.

        Raises:
            StorageUnavailableError: the container cannot be read.
        """
        owners = await self.owners()
        return [each for each in owners if each.partition in partitions and each.is_fresh]

    async def write(self, partition: str, checkpoint: Checkpoint, *, force: bool = False) -> None:
        """Set a partition's checkpoint while no host owns the partition.

        Args:
            partition: the partition's id.
            checkpoint: the checkpoint.
            force: write although a host seems to own the partition; the operator knows that no
                host runs.

        Raises:
            AppRunningError: a host owns the partition, and would overwrite the checkpoint.
            StorageUnavailableError: the checkpoint could not be written.
        """
        if not force:
            await self.refuse_while_owned({partition})
        await self._put(partition, checkpoint)

    async def _put(self, partition: str, checkpoint: Checkpoint) -> None:
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
        """Return all ownerships, including expired ones; a blob without an owner is released.

        Raises:
            StorageUnavailableError: the container cannot be read.
        """
        found: list[Ownership] = []
        now = datetime.now(UTC)

        def note_time(response: Any) -> None:
            # The storage's clock, because the clock of an operator's machine may be wrong.
            nonlocal now
            if date := response.http_response.headers.get("Date"):
                now = parsedate_to_datetime(date)

        folder = self._name("ownership", "")
        async with self._errors_mapped():
            with suppress(ResourceNotFoundError):
                async for blob in self._container.list_blobs(
                    name_starts_with=folder,
                    include=["metadata"],
                    raw_response_hook=note_time,
                ):
                    owner = (blob.metadata or {}).get("ownerid", "")
                    partition = blob.name.removeprefix(folder)
                    is_copy = "/" in partition  # in a subfolder, which the host does not read
                    if owner and not is_copy and blob.last_modified is not None:
                        age = (now - blob.last_modified).total_seconds()
                        found.append(Ownership(partition, owner, age))
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


def _running(fresh: Sequence[Ownership]) -> str:
    latest = min(fresh, key=lambda owned: owned.age_seconds)
    partitions = ", ".join(owned.partition for owned in fresh)
    return (
        f"the app is running, or was {max(0.0, latest.age_seconds):.0f} s ago: it owns partition "
        f"{partitions}. Stop the app, and wait up to {LEASE_SECONDS:.0f} s until its ownership "
        "expires. Use --force only if the app has already stopped"
    )
