"""Rewind: processes events again from an earlier position.

A rewind moves the host's checkpoint back, and deletes the progress of the events after the
checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from processing.errors import ProcessingError
from processing.identity import Identity, Source
from processing.parking.event import position_of
from processing.parking.store import ParkingStore
from processing.partitions.checkpoints import (
    START_OF_STREAM,
    Checkpoint,
    HostCheckpoints,
    Ownership,
)
from processing.partitions.positions import HubPositions
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
    """

    partition: str
    first: int
    before: int | None
    events: int
    checkpoint: Checkpoint
    enqueued_ms: int | None


class Rewind:
    """A rewind of partitions of one hub and consumer group."""

    def __init__(
        self,
        *,
        checkpoints: HostCheckpoints,
        positions: HubPositions,
        progress: ProgressStore,
        parking: ParkingStore,
        identity: Identity,
    ) -> None:
        self._checkpoints = checkpoints
        self._positions = positions
        self._progress = progress
        self._parking = parking
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
        known = await self._positions.partitions()
        for partition in partitions or ():
            if partition not in known:
                raise RewindRefusedError(
                    f"the hub {self._identity.hub} has no partition {partition!r} (it has: "
                    f"{', '.join(known)})"
                )
        return [await self._step(each, sequence_number) for each in partitions or known]

    async def run(self, steps: Sequence[RewindStep], *, force: bool = False) -> None:
        """Execute the steps; after an error they can be executed again from the start.

        Raises:
            RewindRefusedError: the app is running, and would overwrite the new checkpoint.
            StorageUnavailableError: a store did not answer.
        """
        if not force:
            await self._refuse_while_owned({step.partition for step in steps})
        for step in steps:
            # The checkpoint first: deleted progress without it would only cause duplicates.
            await self._checkpoints.write(step.partition, step.checkpoint)
            source = Source(self._identity, step.partition)
            await self._progress.reset(source)
            before = None if step.enqueued_ms is None else Mark(step.first - 1, step.enqueued_ms)
            await self._parking.forget(source, "" if before is None else position_of(before))

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
        if first > checkpointed:
            raise RewindRefusedError(
                f"partition {partition} is checkpointed up to event {checkpointed - 1}; a start at "
                f"{first} would skip {first - checkpointed} events; the highest accepted sequence "
                f"number is {checkpointed}"
            )
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
