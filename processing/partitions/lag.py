"""Lag: the number of events in each partition that are not yet handled, with those in its lists.

A partition's lag is `last - max(watermark, begin - 1)`, where the hub retains the events from
`begin` to `last`, plus the events in parked lists. Two facts are reported beside the
lag: the events that expired before they were handled, and whether the hub was recreated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from azure.eventhub.aio import EventHubConsumerClient

from processing.errors import StorageUnavailableError
from processing.identity import Identity, Source
from processing.parking.store import ParkingStore, PartitionLists
from processing.partitions.checkpoints import Checkpoint
from processing.partitions.gaps import Gap, GapStore
from processing.partitions.hub_created import HubCreated
from processing.partitions.positions import HubPositions
from processing.partitions.recreated import is_other_hub
from processing.progress.store import ClockStep, Progress, ProgressStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """The lag of one partition.

    Attributes:
        watermark: sequence number of the watermark; None: no event is finished.
        last_enqueued: sequence number of the hub's last event; None: the partition is empty.
        lag: number of retained events above the watermark, and of the events in parked lists.
            Without a watermark the checkpoint counts. Events removed by retention do not count. If
            the hub was recreated, all retained events count.
        parked: number of events in the partition's parked lists.
        deferred: number of deferred keys.
        oldest_deferred: time at which the first of these keys was deferred, seconds since 1970 by
            the store's clock; None: no key is deferred.
        expired: number of events that the hub has removed although nobody has finished them, and
            that no batch has noticed yet.
        recreated: progress or checkpoint is that of an earlier hub of the same name.
        gaps: the expired events that batches have noticed, the latest gap first.
        step: the latest step back of the broker's clock that a batch has noticed, or None.
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
    gaps: tuple[Gap, ...] = ()
    step: ClockStep | None = None

    @property
    def behind(self) -> int:
        """Number of retained events above the watermark."""
        return self.lag - self.parked


@dataclass(frozen=True, slots=True)
class LagReading:
    """The lag of a hub's partitions.

    Attributes:
        partitions: the lag of each partition that was read, in the order of the hub.
        unread: the reason for each partition that could not be read, by its id.
    """

    partitions: tuple[PartitionLag, ...]
    unread: Mapping[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The hub's number of partitions."""
        return len(self.partitions) + len(self.unread)

    @property
    def problems(self) -> list[str]:
        """One text for each partition that could not be read."""
        return [f"partition {name} cannot be read: {why}" for name, why in self.unread.items()]


type ReadCheckpoint = Callable[[str], Awaitable[Checkpoint | None]]
"""Function that returns a partition's checkpoint; None: there is none."""


async def no_checkpoint(_partition: str) -> None:
    """Return that there is no checkpoint."""


class LagReader:
    """A reader of the lag of every partition for one consumer group.

    Args:
        client: the hub's client, closed by the caller.
        progress: the store of finished events.
        identity: the app whose lag is read.
        parking: the store of parked lists; None: parked events do not count.
        gaps: the store of the gaps that batches have noticed; None: there are none.
        checkpoint: returns a partition's checkpoint.
        created: is given the hub's time of creation at each reading.
    """

    def __init__(
        self,
        client: EventHubConsumerClient,
        progress: ProgressStore,
        identity: Identity,
        parking: ParkingStore | None = None,
        *,
        gaps: GapStore | None = None,
        checkpoint: ReadCheckpoint = no_checkpoint,
        created: HubCreated | None = None,
    ) -> None:
        self._positions = HubPositions(client)
        self._progress = progress
        self._parking = parking
        self._gaps = gaps
        self._identity = identity
        self._checkpoint = checkpoint
        self._created = created
        self._unread: dict[str, str] = {}

    async def read(self) -> LagReading:
        """Return the lag of the partitions; a partition that cannot be read hides no other one.

        Raises:
            StorageUnavailableError: the hub or Redis did not answer for any partition.
        """
        hub = await self._positions.describe()
        sources = [Source(self._identity, each) for each in hub.partitions]
        # The progress is read before the hub: an event that is enqueued and finished between the
        # two reads must not look like the event of an earlier hub.
        loads = await asyncio.gather(*map(self._progress.load, sources), return_exceptions=True)
        known = [each for each in loads if isinstance(each, Progress)]
        if any(is_other_hub(each, hub.created_ms) for each in known):
            hub = await self._positions.describe()  # the progress may be newer than the answer
        if self._created is not None:
            self._created.note(hub.created_ms)
        found = await asyncio.gather(
            *(
                self._partition(source, progress, hub.created_ms)
                for source, progress in zip(sources, loads, strict=True)
            ),
            return_exceptions=True,
        )
        unread: dict[str, str] = {}
        for source, each in zip(sources, found, strict=True):
            if not isinstance(each, BaseException):
                continue
            if not isinstance(each, Exception):
                raise each
            partition = source.partition
            expected = isinstance(each, StorageUnavailableError)
            unread[partition] = f"{each}" if expected else f"{type(each).__name__}: {each}"
            if not expected and unread[partition] != self._unread.get(partition):
                logger.error("Partition %s cannot be read", partition, exc_info=each)
        self._unread = unread
        if unread and len(unread) == len(sources):
            raise StorageUnavailableError(next(iter(unread.values())))
        return LagReading(tuple(each for each in found if isinstance(each, PartitionLag)), unread)

    async def _partition(
        self, source: Source, progress: Progress | BaseException, created_ms: int
    ) -> PartitionLag:
        if isinstance(progress, BaseException):
            raise progress
        hub = await self._positions.range(source.partition)
        lists = PartitionLists()
        if self._parking is not None:
            lists = await self._parking.summary(source)
        gaps = [] if self._gaps is None else await self._gaps.gaps(source)
        watermark = progress.watermark.sequence_number if progress.watermark else None
        checkpoint = None
        if (watermark is None and hub.end > 0) or hub.first > (watermark or 0) + 1:
            checkpoint = await self._read_checkpoint(source.partition)
        read = None if checkpoint is None else checkpoint.sequence_number
        highest = read if watermark is None else watermark
        if watermark is not None:
            other = is_other_hub(progress, created_ms)
        else:
            other = checkpoint is not None and checkpoint.is_older_than(created_ms)
        recreated = other or (highest is not None and highest >= hub.end)
        expired, behind = 0, hub.end - hub.first
        if not recreated:
            expired = expired_events(progress, hub.first, created_ms, read, gaps)
            if highest is not None:
                behind = hub.end - 1 - max(highest, hub.first - 1)
        return PartitionLag(
            source.partition,
            watermark,
            None if hub.first == hub.end else hub.end - 1,
            lag=behind + lists.events,
            parked=lists.events,
            deferred=lists.deferred,
            oldest_deferred=lists.oldest,
            expired=expired,
            recreated=recreated,
            gaps=tuple(gaps),
            step=progress.step,
        )

    async def _read_checkpoint(self, partition: str) -> Checkpoint | None:
        try:
            return await self._checkpoint(partition)
        except (StorageUnavailableError, ValueError):
            return None  # then only the watermark is known


def expired_events(
    progress: Progress,
    first: int,
    created_ms: int,
    checkpoint: int | None,
    gaps: Iterable[Gap] = (),
) -> int:
    """Return the number of events that have expired although nobody has finished them.

    Without watermark, checkpoint and gap nothing is known about the events before `first`.

    Args:
        progress: the partition's progress.
        first: sequence number of the first event that the hub retains.
        created_ms: time at which the hub was created, milliseconds since 1970.
        checkpoint: sequence number of the partition's checkpoint; None: there is none.
        gaps: the partition's gaps, which batches have noticed; their events do not count.
    """
    mark = progress.watermark
    known = [each.last for each in gaps if each.created_ms == created_ms]
    if checkpoint is not None:
        known.append(checkpoint)
    if mark is not None:
        known.append(mark.sequence_number)
    if not known:
        return 0
    read = max(known)
    finished = sum(read < number < first for number in progress.finished)
    return max(0, first - 1 - read - finished)
