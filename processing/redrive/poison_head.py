"""The operator's decision to poison the event that keeps a partition from continuing.

An event without a key cannot be deferred where the order of such events is kept, so its partition
waits for its dependency. The decision is stored beside the partition's parked lists, and the owner
of the partition poisons the event at its next attempt, if the event is still the one decided on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from processing.errors import CheckpointUnreadableError, ProcessingError, StorageUnavailableError
from processing.event import event_id
from processing.identity import Identity, Source
from processing.monitoring.partition_state import PartitionState
from processing.parking.store import ParkingStore
from processing.partitions.checkpoints import Checkpoint
from processing.partitions.hub_range import HubRange
from processing.partitions.positions import HubPosition
from processing.progress.store import ProgressStore


class Positions(Protocol):
    """The positions in the hub; `HubPositions` reads them."""

    async def partitions(self) -> list[str]: ...  # noqa: D102

    async def range(self, partition: str) -> HubRange: ...  # noqa: D102

    async def find(self, partition: str, sequence_number: int) -> HubPosition: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Head:
    """The first unfinished event of a partition.

    Attributes:
        why: why the event waits, as the partition's owner reports; "" if no owner reports.
    """

    source: Source
    key: str | None
    sequence_number: int
    enqueued_ms: int
    why: str = ""

    @property
    def id(self) -> str:
        """The event's id."""
        return event_id(self.source, self.sequence_number, self.enqueued_ms)


class PoisonHead:
    """The search for a partition's first unfinished event, and the decision to poison the event.

    Args:
        positions: reads the hub.
        checkpoint: reads the host's checkpoint of a partition.
        progress: stores the finished events.
        parking: stores the decision.
        reports: returns what the owners report of their partitions.
        identity: the app whose partitions are meant.
    """

    def __init__(
        self,
        *,
        positions: Positions,
        checkpoint: Callable[[str], Awaitable[Checkpoint | None]],
        progress: ProgressStore,
        parking: ParkingStore,
        reports: Callable[[], Awaitable[list[PartitionState]]],
        identity: Identity,
    ) -> None:
        self._positions = positions
        self._checkpoint = checkpoint
        self._progress = progress
        self._parking = parking
        self._reports = reports
        self._identity = identity

    async def find(self, partition: str) -> Head:
        """Return the first unfinished event of a partition.

        Raises:
            ProcessingError: the hub has no such partition, or all its events are finished.
            StorageUnavailableError: the hub or a store did not answer.
        """
        known = await self._positions.partitions()
        if partition not in known:
            raise ProcessingError(
                f"the hub has no partition {partition!r}; it has {', '.join(known)}"
            )
        source = Source(self._identity, partition)
        progress = await self._progress.load(source)
        try:
            checkpoint = await self._checkpoint(partition)
        except CheckpointUnreadableError:
            checkpoint = None  # the progress alone says what is finished
        hub = await self._positions.range(partition)
        marks = (progress.watermark, checkpoint)
        # Marks at or above the end belong to an earlier hub with the same name.
        passed = [mark.sequence_number for mark in marks if mark and mark.sequence_number < hub.end]
        number = max([hub.first, *(each + 1 for each in passed)])
        while number < hub.end:
            found = await self._positions.find(partition, number)
            if progress.finished.get(found.sequence_number) != found.enqueued_ms:
                why = await self._why(partition, found.sequence_number)
                return Head(source, found.key, found.sequence_number, found.enqueued_ms, why)
            number = found.sequence_number + 1
        raise ProcessingError(f"partition {partition}: every event in the hub is finished")

    async def _why(self, partition: str, sequence_number: int) -> str:
        try:
            states = await self._reports()
        except StorageUnavailableError:
            return ""  # the decision does not need the reason
        for state in states:
            place = (state.partition, state.sequence_number, state.deferred)
            if place == (partition, sequence_number, False):
                return f"{state.state} for {state.seconds:.0f} s: {state.explanation}"
        return ""

    async def poison(self, head: Head) -> None:
        """Store the decision; a later decision for the same partition replaces it.

        Raises:
            StorageUnavailableError: the store did not answer; the decision may be stored.
        """
        await self._parking.poison_head(head.source, head.id)
