"""Lag: the number of events in each partition that are not yet handled, with those in its lists."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from azure.eventhub.aio import EventHubConsumerClient
from azure.eventhub.exceptions import EventHubError

from processing.errors import StorageUnavailableError
from processing.identity import Identity, Source
from processing.parking.store import ParkingStore, PartitionLists
from processing.progress.store import ProgressStore


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """The lag of one partition.

    Attributes:
        watermark: sequence number of the watermark; None: no event is finished.
        last_enqueued: sequence number of the hub's last event; None: the partition is empty.
        lag: number of retained events above the watermark, and of the events in parked lists.
            Events removed by retention do not count.
        parked: number of events in the partition's parked lists.
        deferred: number of deferred keys.
        oldest_deferred: time at which the longest deferred key was deferred, seconds since 1970 by
            the store's clock; None: no key is deferred.
    """

    partition: str
    watermark: int | None
    last_enqueued: int | None
    lag: int
    parked: int = 0
    deferred: int = 0
    oldest_deferred: float | None = None

    @property
    def behind(self) -> int:
        """Number of retained events above the watermark."""
        return self.lag - self.parked


class LagReader:
    """A reader of the lag of every partition for one consumer group.

    Args:
        client: the hub's client, closed by the caller.
        progress: the store of finished events.
        identity: the app whose lag is read.
        parking: the store of parked lists; None: parked events do not count.
    """

    def __init__(
        self,
        client: EventHubConsumerClient,
        progress: ProgressStore,
        identity: Identity,
        parking: ParkingStore | None = None,
    ) -> None:
        self._client = client
        self._progress = progress
        self._parking = parking
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
        source = Source(self._identity, partition)
        progress = await self._progress.load(source)
        lists = PartitionLists()
        if self._parking is not None:
            lists = await self._parking.summary(source)
        watermark = progress.watermark.sequence_number if progress.watermark else None
        last, behind = None, 0
        if not hub["is_empty"]:
            last = int(hub["last_enqueued_sequence_number"])
            first = int(hub["beginning_sequence_number"]) if watermark is None else watermark + 1
            behind = max(0, last + 1 - first)
        return PartitionLag(
            partition,
            watermark,
            last,
            lag=behind + lists.events,
            parked=lists.events,
            deferred=lists.deferred,
            oldest_deferred=lists.oldest,
        )
