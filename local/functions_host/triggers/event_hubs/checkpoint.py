"""Checkpoints and ownership in blobs, where the Event Hubs extension keeps them.

The container `azure-webjobs-eventhub` has the blobs `checkpoint/<partition>` and
`ownership/<partition>` below `<namespace>/<hub>/<consumer group>/`. BlobCheckpointStore writes the
same paths and metadata.

A blob whose metadata have another form concerns its own partition only. The SDK would list none of
the blobs, so that no partition is received. This module reads such blobs as the .NET SDK does
(`BlobCheckpointStoreInternal.CreateCheckpoint` in azure-sdk-for-net).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore
from azure.storage.blob.aio import ContainerClient

from local.functions_host.storage import QUICK_RETRIES

CONTAINER = "azure-webjobs-eventhub"
PLACEHOLDERS = ("", "no offset")
"""Texts that .NET SDKs write instead of an offset, in lower case."""
_log = logging.getLogger("Host.Triggers.EventHubs")


class CheckpointStore(BlobCheckpointStore):  # type: ignore[misc]
    """A BlobCheckpointStore that releases a partition only after its invocation has ended.

    A checkpoint has the writer's id as `clientidentifier`, as the .NET SDK writes it.

    The SDK releases the ownership as soon as it stops receiving. If a function still runs, the next
    owner would start the same events in parallel. So the store first awaits `before_release` with
    the partition id.
    """

    before_release: Callable[[str], Awaitable[None]] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._last_claim: dict[str, Any] | None = None
        self._confirmed: dict[str, float] = {}

    def is_certain(self, partition: str, lease_seconds: float) -> bool:
        """Return whether this owner's last claim is too recent for a takeover.

        Blob storage has times in whole seconds, so other owners may see a claim 1 s older.
        """
        age = time.monotonic() - self._confirmed.get(partition, -math.inf)
        return age < max(lease_seconds - 1, lease_seconds / 2)

    async def claim_ownership(
        self, ownership_list: Iterable[dict[str, Any]], **kwargs: Any
    ) -> Iterable[dict[str, Any]]:
        """Claim the given ownerships; an empty owner id releases one."""
        claims = list(ownership_list)
        self._last_claim = next((dict(c) for c in claims if c["owner_id"]), self._last_claim)
        released = [claim["partition_id"] for claim in claims if not claim["owner_id"]]
        if released and self.before_release is not None:
            await asyncio.gather(*(self.before_release(partition) for partition in released))
        asked = time.monotonic()
        found: list[dict[str, Any]] = list(await super().claim_ownership(claims, **kwargs))
        self._confirmed |= {item["partition_id"]: asked for item in found if item["owner_id"]}
        missed = set(released) - {claim["partition_id"] for claim in found}
        return found + await self._release(missed) if missed else found

    async def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **kwargs: Any
    ) -> Iterable[dict[str, Any]]:
        """Return the checkpoints that name a position; the others count as missing.

        The value of `offset` is the text of an offset, or the number of an event if the checkpoint
        has no offset; see `position_of`.
        """
        place = {
            "fully_qualified_namespace": fully_qualified_namespace,
            "eventhub_name": eventhub_name,
            "consumer_group": consumer_group,
        }
        found: list[dict[str, Any]] = []
        async for partition, blob in self._blobs("checkpoint", *place.values(), **kwargs):
            metadata = blob.metadata or {}
            position = position_of(metadata)
            if position is None:
                _log.warning(
                    "partition %s: the checkpoint has neither an offset nor a sequence number, so "
                    "the partition is read as without a checkpoint; its metadata are %s",
                    *(partition, metadata),
                )
                continue
            found.append({**place, "partition_id": partition, "offset": position})
        return found

    async def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **kwargs: Any
    ) -> Iterable[dict[str, Any]]:
        """Return the ownerships; a blob without an owner counts as released."""
        place = {
            "fully_qualified_namespace": fully_qualified_namespace,
            "eventhub_name": eventhub_name,
            "consumer_group": consumer_group,
        }
        return [
            {
                **place,
                "partition_id": partition,
                "owner_id": (blob.metadata or {}).get("ownerid") or "",
                "etag": blob.etag,
                "last_modified_time": blob.last_modified.timestamp(),
            }
            async for partition, blob in self._blobs("ownership", *place.values(), **kwargs)
        ]

    async def _blobs(
        self, kind: str, namespace: str, hub: str, group: str, **kwargs: Any
    ) -> AsyncIterator[tuple[str, Any]]:
        """Yield partition id and properties of each blob of a kind; not of blobs in subfolders."""
        prefix = f"{namespace}/{hub}/{group}/{kind}/".lower()
        async for blob in self._container_client.list_blobs(
            name_starts_with=prefix, include=["metadata"], **kwargs
        ):
            partition = blob.name.removeprefix(prefix)
            if "/" not in partition:
                yield partition, blob

    async def update_checkpoint(self, checkpoint: dict[str, Any], **kwargs: Any) -> None:
        """Write a checkpoint with its writer's id, which the SDK leaves out."""
        name = "/".join(
            (
                checkpoint["fully_qualified_namespace"],
                checkpoint["eventhub_name"],
                checkpoint["consumer_group"],
                "checkpoint",
                checkpoint["partition_id"],
            )
        ).lower()
        metadata = {
            "offset": str(checkpoint["offset"]),
            "sequencenumber": str(checkpoint["sequence_number"]),
            "clientidentifier": self._last_claim["owner_id"] if self._last_claim else "",
        }
        blob = self._get_blob_client(name)
        try:
            await blob.set_blob_metadata(metadata, **kwargs)
        except ResourceNotFoundError:
            await blob.upload_blob(b"", overwrite=True, metadata=metadata)

    async def release_all(self) -> None:
        """Release every partition that this store's owner still holds."""
        await self._release(None)

    async def _release(self, partitions: set[str] | None) -> list[dict[str, Any]]:
        """Release the partitions (None: all) that this store's owner holds.

        The SDK's own release fails for a partition whose claim was renewed while the SDK was being
        cancelled, because the SDK then has an outdated etag.
        """
        if (claim := self._last_claim) is None:
            return []
        try:
            held = await self.list_ownership(
                claim["fully_qualified_namespace"], claim["eventhub_name"], claim["consumer_group"]
            )
        except AzureError as error:
            _log.warning(
                "ownership of partitions not released; it expires with its lease: %s: %s",
                type(error).__name__,
                error,
            )
            return []
        return list(
            await super().claim_ownership(
                [
                    {**item, "owner_id": ""}
                    for item in held
                    if item["owner_id"] == claim["owner_id"]
                    and (partitions is None or item["partition_id"] in partitions)
                ]
            )
        )


def position_of(metadata: Mapping[str, str | None]) -> str | int | None:
    """Return the position after which a checkpoint continues, or None if it names no position.

    Args:
        metadata: the metadata of the checkpoint's blob.

    Returns:
        The text of an offset, which is opaque (`12:345:678` on a geo-replicated namespace). Without
        an offset: the sequence number of an event.
    """
    offset = metadata.get("offset") or ""
    if offset.lower() not in PLACEHOLDERS:
        return offset
    try:
        return int(metadata.get("sequencenumber") or "")
    except ValueError:
        return None


async def open_checkpoint_store(storage_connection: str) -> CheckpointStore:
    """Return a store on the account's checkpoint container, which is created if missing."""
    async with ContainerClient.from_connection_string(
        storage_connection, CONTAINER, **QUICK_RETRIES
    ) as container:
        with suppress(ResourceExistsError):
            await container.create_container()
    store: CheckpointStore = CheckpointStore.from_connection_string(
        storage_connection, CONTAINER, **QUICK_RETRIES
    )
    return store


class PartitionCheckpoint:
    """One partition's checkpoint, written at every `frequency`-th call of `advance`."""

    def __init__(self, update: Callable[[Any], Awaitable[None]], frequency: int) -> None:
        self._update = update
        self._frequency = frequency
        self._batches = 0

    async def advance(self, partition: str, last_event: Any) -> None:
        """Record that every event up to `last_event` was passed to the function.

        A storage error loses nothing, because the next batch's checkpoint includes this one. A
        restart before that redelivers the events.
        """
        self._batches += 1
        if self._batches < self._frequency:
            return
        try:
            await self._update(last_event)
        except Exception as error:
            _log.warning(
                "partition %s: checkpoint at sequence number %s not written; the next batch writes "
                "one: %r",
                partition,
                getattr(last_event, "sequence_number", "unknown"),
                error,
            )
            return
        self._batches = 0
