"""Lag: the number of events in each partition that are not yet handled, with those in its lists.

A partition's lag is `last - max(watermark, begin - 1)`, where the hub retains the events from
`begin` to `last`, plus the events in parked lists. Two states of the hub are not lag, and stand
beside it: events that expired before they were handled, and a hub that was recreated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from azure.eventhub.aio import EventHubConsumerClient
from azure.eventhub.exceptions import EventHubError

from processing.errors import StorageUnavailableError
from processing.identity import Identity, Source
from processing.parking.store import ParkingStore, PartitionLists
from processing.partitions.positions import HubPositions
from processing.progress.store import Progress, ProgressStore


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """The lag of one partition.

    Attributes:
        watermark: sequence number of the watermark; None: no event is finished.
        last_enqueued: sequence number of the hub's last event; None: the partition is empty.
        lag: number of retained events above the watermark, and of the events in parked lists.
            Events removed by retention do not count. If the hub was recreated, all retained events
            count.
        parked: number of events in the partition's parked lists.
        deferred: number of deferred keys.
        oldest_deferred: time at which the longest deferred key was deferred, seconds since 1970 by
            the store's clock; None: no key is deferred.
        expired: number of events that the hub has removed although nobody has finished them, and
            that no batch has noticed yet.
        recreated: the progress is that of an earlier hub of the same name.
    """

    partition: str
    watermark: int | None
    last_enqueued: int | None
    lag: int
    parked: int = 0
    deferred: int = 0
    oldest_deferred: float | None = None
    expired: int = 0
    recreated: bool = False

    @property
    def behind(self) -> int:
        """Number of retained events above the watermark."""
        return self.lag - self.parked


type ReadCheckpoint = Callable[[str], Awaitable[int | None]]
"""Function that returns the sequence number of a partition's checkpoint; None: there is none."""


async def no_checkpoint(_partition: str) -> None:
    """Return that there is no checkpoint."""


class LagReader:
    """A reader of the lag of every partition for one consumer group.

    Args:
        client: the hub's client, closed by the caller.
        progress: the store of finished events.
        identity: the app whose lag is read.
        parking: the store of parked lists; None: parked events do not count.
        checkpoint: returns the sequence number of a partition's checkpoint.
    """

    def __init__(
        self,
        client: EventHubConsumerClient,
        progress: ProgressStore,
        identity: Identity,
        parking: ParkingStore | None = None,
        checkpoint: ReadCheckpoint = no_checkpoint,
    ) -> None:
        self._client = client
        self._positions = HubPositions(client)
        self._progress = progress
        self._parking = parking
        self._identity = identity
        self._checkpoint = checkpoint

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
        source = Source(self._identity, partition)
        # The progress is read before the hub: an event that is enqueued and finished between the
        # two reads must not look like the event of an earlier hub.
        progress = await self._progress.load(source)
        hub = await self._positions.range(partition)
        lists = PartitionLists()
        if self._parking is not None:
            lists = await self._parking.summary(source)
        watermark = progress.watermark.sequence_number if progress.watermark else None
        recreated = watermark is not None and watermark >= hub.end
        expired = 0
        if not recreated and hub.first > (0 if watermark is None else watermark + 1):
            expired = expired_events(progress, hub.first, await self._read_checkpoint(partition))
        behind = hub.end - hub.first
        if watermark is not None and not recreated:
            behind = hub.end - 1 - max(watermark, hub.first - 1)
        return PartitionLag(
            partition,
            watermark,
            None if hub.first == hub.end else hub.end - 1,
            lag=behind + lists.events,
            parked=lists.events,
            deferred=lists.deferred,
            oldest_deferred=lists.oldest,
            expired=expired,
            recreated=recreated,
        )

    async def _read_checkpoint(self, partition: str) -> int | None:
        try:
            return await self._checkpoint(partition)
        except (StorageUnavailableError, ValueError):
            return None  # then the watermark alone says what was read


def expired_events(progress: Progress, first: int, checkpoint: int | None) -> int:
    """Return the number of events that have expired although nobody has finished them.

    Without a watermark and a checkpoint nothing is known about the events before `first`.

    Args:
        progress: the partition's progress.
        first: sequence number of the first event that the hub retains.
        checkpoint: sequence number of the partition's checkpoint; None: there is none.
    """
    mark = progress.watermark
    known = [] if checkpoint is None else [checkpoint]
    if mark is not None:
        known.append(mark.sequence_number)
    if not known:
        return 0
    read = max(known)
    finished = sum(read < number < first for number in progress.finished)
    return max(0, first - 1 - read - finished)
