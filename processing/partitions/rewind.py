"""Rewind: processes events again from an earlier position.

A rewind moves the host's checkpoint back, and deletes the progress of the events after the
checkpoint. A rewind to a mark brings back the parked events that Redis has lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from processing.errors import AppRunningError, StorageUnavailableError
from processing.identity import Source
from processing.parking.event import position_of
from processing.parking.marks import StoredMark
from processing.partitions.checkpoints import (
    LEASE_SECONDS,
    START_OF_STREAM,
    Checkpoint,
)
from processing.partitions.rewind_plan import RewindPlan, RewindStep
from processing.partitions.rewind_planner import RewindPlanner
from processing.partitions.rewind_stores import RewindStores
from processing.progress.store import Mark


@dataclass(slots=True)
class RewindRecord:
    """The changes of one run, also of a run that ends with an error.

    Attributes:
        done: the partitions that are rewound.
        refused: the partitions whose new position cannot be read, with the reason.
        begun: the partition whose rewind did not end, or "": its checkpoint may be moved while its
            progress is not deleted yet. A repeat of the rewind ends it.
    """

    done: list[str] = field(default_factory=list)
    refused: dict[str, Exception] = field(default_factory=dict)
    begun: str = ""


def changes(steps: Sequence[RewindStep], record: RewindRecord) -> list[str]:
    """Return sentences that say exactly what a run has changed, and what not."""
    lines = []
    if done := [step for step in steps if step.partition in record.done]:
        places = ", ".join(f"partition {step.partition} to event {step.first}" for step in done)
        lines.append(f"Rewound: {places}.")
    if record.begun:
        lines.append(
            f"Half done: the checkpoint of partition {record.begun} is moved, but not all of its "
            "progress is deleted, so some of its events are not handled again. Run the command "
            "again."
        )
    touched = {*record.done, record.begun}
    if left := [step.partition for step in steps if step.partition not in touched]:
        word = "partition" if len(left) == 1 else "partitions"
        lines.append(f"Not changed: {word} {', '.join(left)}.")
    return lines or ["Nothing was changed."]


class Rewind:
    """A rewind of partitions of one hub and consumer group."""

    def __init__(self, stores: RewindStores) -> None:
        self._stores = stores
        self._planner = RewindPlanner(stores)

    async def plan(
        self, partitions: Sequence[str] | None, sequence_number: int | None
    ) -> RewindPlan:
        """Return the plan of a rewind, without changing anything.

        Args:
            partitions: ids of the partitions; None: all partitions.
            sequence_number: number of the first event to process again; None: the first retained
                event.

        Raises:
            RewindRefusedError: a partition does not exist, or none of the partitions can be
                rewound.
            StorageUnavailableError: the hub or the only partition's stores cannot be read.
        """
        return await self._planner.plan(partitions, sequence_number)

    async def plan_to_marks(
        self, partitions: Sequence[str] | None, *, force: bool = False
    ) -> RewindPlan:
        """Return the plan that brings back the parked events that Redis has lost.

        Args:
            partitions: ids of the partitions; None: all partitions that have lost events.
            force: also rewind partitions that have lost nothing.

        Raises:
            RewindRefusedError: a partition does not exist, or has lost nothing.
            StorageUnavailableError: the hub or the only partition's stores cannot be read.
            MarkUnreadableError: the only partition's mark is unreadable.
        """
        return await self._planner.plan_to_marks(partitions, force=force)

    async def owned_seconds(self, partitions: Collection[str]) -> float:
        """Return the time until the last ownership of the partitions expires; 0.0 if none is left.

        Raises:
            StorageUnavailableError: the ownerships cannot be read.
        """
        owners = await self._stores.checkpoints.fresh_owners(partitions)
        return max((LEASE_SECONDS - each.age_seconds for each in owners), default=0.0)

    async def run(
        self,
        steps: Sequence[RewindStep],
        *,
        force: bool = False,
        record: RewindRecord | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Execute the steps; after an error they can be executed again from the start.

        Args:
            steps: the steps of a plan.
            force: do not check that the app is stopped.
            record: gets the changes.
            stopping: returns whether to begin no further partition.

        Raises:
            AppRunningError: the app is running, and would overwrite the new checkpoint.
            StorageUnavailableError: a store did not answer, or too few replicas confirm.
        """
        record = RewindRecord() if record is None else record
        partitions = {step.partition for step in steps}
        if not force:
            await self._stores.checkpoints.refuse_while_owned(partitions)
        for step in steps:
            if stopping():
                return
            await self._rewind(step, record, force=force)
        if not force and (owners := await self._stores.checkpoints.fresh_owners(partitions)):
            taken = ", ".join(each.partition for each in owners)
            raise AppRunningError(
                f"the app was started during the rewind, and may have read the old checkpoint of "
                f"partition {taken}; stop the app and run the command again"
            )
        if record.refused:
            raise next(iter(record.refused.values()))

    async def _rewind(self, step: RewindStep, record: RewindRecord, *, force: bool) -> None:
        try:
            checkpoint, before = await self._position(step)
        except StorageUnavailableError as error:
            record.refused[step.partition] = error  # the others are rewound
            return
        # The checkpoint is first: if only the progress were deleted, events would just run twice.
        await self._stores.checkpoints.write(step.partition, checkpoint, force=force)
        record.begun = step.partition
        source = Source(self._stores.identity, step.partition)
        await self._stores.progress.reset(source, step.created_ms)
        await self._stores.parking.forget(source, "" if before is None else position_of(before))
        # The mark stays until then: a replica without the reset would skip the events.
        if not await self._stores.parking.confirm():
            raise StorageUnavailableError(
                f"partition {step.partition} is rewound to event {step.first}, but fewer "
                "replicas than PROCESSING_PARKING_REPLICAS have confirmed that; a switch to a "
                "replica would undo the rewind. Run the command again when the replicas answer"
            )
        if step.mark is not None:
            await self._settle(step.mark)
        record.done.append(step.partition)
        record.begun = ""

    async def _position(self, step: RewindStep) -> tuple[Checkpoint, Mark | None]:
        """Return the new checkpoint, and the event before `step.first`; None: rewind to the start.

        A plan does not read this event: while the app runs, its receivers keep other readers out.
        """
        if step.at_start:
            return Checkpoint(step.first - 1, START_OF_STREAM), None
        found = await self._stores.positions.find(step.partition, step.first - 1)
        if found.sequence_number != step.first - 1:
            # The hub has no event of this number: it has expired, or the hub is compacted. The
            # found event must be delivered.
            return Checkpoint(step.first - 1, ""), None
        before = Mark(found.sequence_number, found.enqueued_ms)
        return Checkpoint(found.sequence_number, found.offset), before

    async def _settle(self, stored: StoredMark) -> None:
        """Remove the token if Redis has it and no list, then delete the mark.

        The mark stays if lists with its token are left, because Redis can still lose these lists.
        """
        await self._stores.parking.drop_mark(stored.mark.source, stored.mark.token)
        if not await self._planner.has_token(stored):
            await self._stores.marks.delete(stored.mark.source, stored.etag)
