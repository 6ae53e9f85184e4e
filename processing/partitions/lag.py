"""Lag: the number of events in each partition that are not yet finished."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from azure.eventhub.aio import EventHubConsumerClient
from azure.eventhub.exceptions import EventHubError

from processing.errors import StorageUnavailableError
from processing.identity import Identity, Source
from processing.progress.store import ProgressStore


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """The lag of one partition.

    Attributes:
        watermark: sequence number of the watermark; None: no event is finished.
        last_enqueued: sequence number of the hub's last event; None: the partition is empty.
        lag: number of retained events above the watermark. Events removed by retention do not
            count.
    """

    partition: str
    watermark: int | None
    last_enqueued: int | None
    lag: int


class LagReader:
    """A reader of the lag of every partition for one consumer group.

    Args:
        client: the hub's client, closed by the caller.
        progress: the store of finished events.
        identity: the app whose lag is read.
    """

    def __init__(
        self, client: EventHubConsumerClient, progress: ProgressStore, identity: Identity
    ) -> None:
        self._client = client
        self._progress = progress
        self._identity = identity

    async def read(self) -> list[PartitionLag]:
        """Return the lag of all partitions, in the order of the hub's partition ids.

        Raises:
            StorageUnavailableError: the hub or Redis did not answer.
        """
        try:
            partitions = await self._client.get_partition_ids()
        except EventHubError as error:
            raise StorageUnavailableError(f"event hub {self._identity.hub}: {error}") from error
        return list(await asyncio.gather(*(self._partition(each) for each in partitions)))

    async def _partition(self, partition: str) -> PartitionLag:
        try:
            hub = await self._client.get_partition_properties(partition)
        except EventHubError as error:
            raise StorageUnavailableError(f"event hub {self._identity.hub}: {error}") from error
        progress = await self._progress.load(Source(self._identity, partition))
        watermark = progress.watermark.sequence_number if progress.watermark else None
        if hub["is_empty"]:
            return PartitionLag(partition, watermark, None, 0)
        last = int(hub["last_enqueued_sequence_number"])
        first_unfinished = (
            int(hub["beginning_sequence_number"]) if watermark is None else watermark + 1
        )
        return PartitionLag(partition, watermark, last, max(0, last + 1 - first_unfinished))
