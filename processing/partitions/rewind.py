"""Rewind: processes events again from an earlier position.

A rewind moves the host's checkpoint back, and deletes the progress of the events after the
checkpoint. A rewind to a mark brings back the parked events that Redis has lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from processing.errors import FormatError, ProcessingError, StorageUnavailableError
from processing.identity import Identity, Source
from processing.parking.event import position_of
from processing.parking.marks import MarkStore, MarkUnreadableError, StoredMark
from processing.parking.store import ParkingStore
from processing.partitions.checkpoints import (
    START_OF_STREAM,
    Checkpoint,
    HostCheckpoints,
    Ownership,
)
from processing.partitions.positions import HubPositions, HubRange
from processing.progress.store import Mark, ProgressStore

LEASE_SECONDS = 120.0
"""The time after which the Event Hubs extension's ownership expires if it is not renewed."""


class RewindRefusedError(ProcessingError):
    """An error for a rewind that would skip events, or that the running app would overwrite."""


@dataclass(frozen=True, slots=True)
class RewindStep:
    """The rewind of one partition.

    Attributes:
        first: sequence number of the first event to process again.
        before: sequence number of the old checkpoint, or None.
        events: number of checkpointed events to process again.
        checkpoint: the new checkpoint.
        enqueued_ms: enqueued time of the event before `first`, milliseconds since 1970; None:
            `first` is the first retained event.
        mark: the mark to which the partition is rewound; the run deletes the mark.
        note: a sentence for the operator about lost events, or "".
    """

    partition: str
    first: int
    before: int | None
    events: int
    checkpoint: Checkpoint
    enqueued_ms: int | None
    mark: StoredMark | None = None
    note: str = ""


class Rewind:
    """A rewind of partitions of one hub and consumer group."""

    def __init__(
        self,
        *,
        checkpoints: HostCheckpoints,
        positions: HubPositions,
        progress: ProgressStore,
        parking: ParkingStore,
        marks: MarkStore,
        identity: Identity,
    ) -> None:
        self._checkpoints = checkpoints
        self._positions = positions
        self._progress = progress
        self._parking = parking
        self._marks = marks
        self._identity = identity

    async def plan(
        self, partitions: Sequence[str] | None, sequence_number: int | None
    ) -> list[RewindStep]:
        """Return the steps of a rewind, without changing anything.

        Args:
            partitions: ids of the partitions; None: all partitions.
            sequence_number: number of the first event to process again; None: the first retained
                event.

        Raises:
            RewindRefusedError: a partition does not exist, or the sequence number is out of range.
            StorageUnavailableError: the hub or the checkpoints cannot be read.
        """
        return [await self._step(each, sequence_number) for each in await self._chosen(partitions)]

    async def plan_to_marks(
        self, partitions: Sequence[str] | None, *, force: bool = False
    ) -> list[RewindStep]:
        """Return the steps that bring back the parked events that Redis has lost.

        Args:
            partitions: ids of the partitions; None: all partitions that have lost events.
            force: also rewind partitions that have lost nothing.

        Raises:
            RewindRefusedError: a partition does not exist, or has lost nothing.
            StorageUnavailableError: a store cannot be read, or a mark is unreadable.
        """
        steps: list[RewindStep] = []
        reasons: list[str] = []
        for partition in await self._chosen(partitions):
            stored = await self._marks.read(self._source(partition))
            if stored is None:
                reasons.append(f"partition {partition} has no mark")
            elif not force and await self._has_token(stored):
                reasons.append(f"Redis has the token of partition {partition}'s mark")
            else:
                steps.append(await self._step_to_mark(partition, stored))
        if reasons and (partitions or not steps):
            raise RewindRefusedError(
                f"Redis has lost no parked events: {'; '.join(reasons)}. --to takes a sequence "
                "number, and --to-start rewinds to the first retained event"
            )
        return steps

    async def run(self, steps: Sequence[RewindStep], *, force: bool = False) -> None:
        """Execute the steps; after an error they can be executed again from the start.

        Raises:
            RewindRefusedError: the app is running, and would overwrite the new checkpoint.
            StorageUnavailableError: a store did not answer, or too few replicas confirm.
        """
        if not force:
            await self._refuse_while_owned({step.partition for step in steps})
        for step in steps:
            # The checkpoint first: deleted progress without it would only cause duplicates.
            await self._checkpoints.write(step.partition, step.checkpoint)
            source = self._source(step.partition)
            await self._progress.reset(source)
            before = None if step.enqueued_ms is None else Mark(step.first - 1, step.enqueued_ms)
            await self._parking.forget(source, "" if before is None else position_of(before))
            # Before the mark goes: a switch to a replica without the reset would skip the events.
            if not await self._parking.confirm():
                raise StorageUnavailableError(
                    f"partition {step.partition} is rewound to event {step.first}, but fewer "
                    "replicas than PROCESSING_PARKING_REPLICAS have confirmed that; a switch to a "
                    "replica would undo the rewind. Run the command again when the replicas answer"
                )
            if step.mark is not None:
                await self._settle(step.mark)

    async def _chosen(self, partitions: Sequence[str] | None) -> Sequence[str]:
        known = await self._positions.partitions()
        for partition in partitions or ():
            if partition not in known:
                raise RewindRefusedError(
                    f"the hub {self._identity.hub} has no partition {partition!r} (it has: "
                    f"{', '.join(known)})"
                )
        return partitions or known

    async def _step(self, partition: str, sequence_number: int | None) -> RewindStep:
        kept = await self._positions.range(partition)
        before = await self._checkpoints.read(partition)
        checkpointed = kept.first if before is None else before.sequence_number + 1
        first = kept.first if sequence_number is None else sequence_number
        if not kept.first <= first <= kept.end:
            raise RewindRefusedError(
                f"partition {partition} retains the events {kept.first} to {kept.end - 1}; "
                f"event {first} is not among them"
            )
        if first > max(checkpointed, kept.first):  # expired events cannot be skipped any more
            raise RewindRefusedError(
                f"partition {partition} is checkpointed up to event {checkpointed - 1}; a start at "
                f"{first} would skip {first - checkpointed} events; the highest accepted sequence "
                f"number is {checkpointed}"
            )
        step = await self._step_at(partition, first, kept, before)
        return replace(step, note=await self._warning(partition, first))

    async def _step_to_mark(self, partition: str, stored: StoredMark) -> RewindStep:
        kept = await self._positions.range(partition)
        before = await self._checkpoints.read(partition)
        checkpointed = kept.first if before is None else before.sequence_number + 1
        oldest, note = stored.mark.oldest.sequence_number, ""
        if oldest >= kept.end:
            first = checkpointed if kept.first <= checkpointed <= kept.end else kept.first
            note = (
                f"The hub was recreated and has no event {oldest}. The events that only Redis had "
                "are gone"
            )
        else:
            first = max(kept.first, min(oldest, checkpointed))
            if oldest < kept.first:
                note = (
                    f"The hub no longer retains the events {oldest} to {kept.first - 1}. Up to "
                    f"{kept.first - oldest} events that only Redis had are gone"
                )
        return replace(await self._step_at(partition, first, kept, before), mark=stored, note=note)

    async def _step_at(
        self, partition: str, first: int, kept: HubRange, before: Checkpoint | None
    ) -> RewindStep:
        checkpointed = kept.first if before is None else before.sequence_number + 1
        if first == kept.first:
            checkpoint, enqueued_ms = Checkpoint(first - 1, START_OF_STREAM), None
        else:
            place = await self._positions.find(partition, first - 1)
            checkpoint = Checkpoint(place.sequence_number, place.offset)
            enqueued_ms = place.enqueued_ms
        return RewindStep(
            partition=partition,
            first=first,
            before=None if before is None else before.sequence_number,
            events=max(0, min(checkpointed, kept.end) - first),
            checkpoint=checkpoint,
            enqueued_ms=enqueued_ms,
        )

    async def _warning(self, partition: str, first: int) -> str:
        """Return a warning if Redis has lost parked events, because this rewind is not for them."""
        try:
            stored = await self._marks.read(self._source(partition))
        except (MarkUnreadableError, FormatError) as error:
            return str(error)
        if stored is None or await self._has_token(stored):
            return ""
        oldest = stored.mark.oldest.sequence_number
        missing = (
            f"A start at {first} leaves out up to {first - oldest} of them. "
            if first > oldest
            else ""
        )
        return (
            f"Redis has lost parked events from event {oldest} on. {missing}The partition still "
            "holds after this rewind; --to-mark brings the events back and ends the hold"
        )

    async def _has_token(self, stored: StoredMark) -> bool:
        return (await self._parking.summary(stored.mark.source)).mark == stored.mark.token

    async def _settle(self, stored: StoredMark) -> None:
        """Remove the token if Redis has it and no list, then delete the mark.

        The mark stays if lists with its token are left, because Redis can still lose these lists.
        """
        await self._parking.drop_mark(stored.mark.source, stored.mark.token)
        if not await self._has_token(stored):
            await self._marks.delete(stored.mark.source, stored.etag)

    def _source(self, partition: str) -> Source:
        return Source(self._identity, partition)

    async def _refuse_while_owned(self, partitions: set[str]) -> None:
        fresh = [
            owned
            for owned in await self._checkpoints.owners()
            if owned.partition in partitions and owned.age_seconds < LEASE_SECONDS
        ]
        if fresh:
            raise RewindRefusedError(_running(fresh))


def _running(fresh: Sequence[Ownership]) -> str:
    latest = min(fresh, key=lambda owned: owned.age_seconds)
    partitions = ", ".join(owned.partition for owned in fresh)
    return (
        f"the app is running, or was {max(0.0, latest.age_seconds):.0f} s ago: it owns partition "
        f"{partitions}. Stop the app, and wait up to {LEASE_SECONDS:.0f} s until its ownership "
        "expires. Use --force only if the app has already stopped"
    )
