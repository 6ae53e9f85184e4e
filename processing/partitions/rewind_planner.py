"""The planner of rewinds: reads the hub, the checkpoints and the lists, and changes nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from processing.errors import (
    CheckpointUnreadableError,
    FormatError,
    ProcessingError,
    StorageUnavailableError,
)
from processing.identity import Source
from processing.parking.marks import MarkUnreadableError, StoredMark
from processing.partitions.checkpoints import Checkpoint
from processing.partitions.hub_changes import latest_growth
from processing.partitions.hub_range import HubRange
from processing.partitions.moved_keys import MovedKeys, find_moved
from processing.partitions.rewind_plan import (
    RewindPlan,
    RewindRefusedError,
    RewindStep,
    RewindWarning,
    WarningKind,
    plan_of,
)
from processing.partitions.rewind_stores import RewindStores
from processing.partitions.rewind_warnings import (
    discarded,
    expired,
    lists,
    lost,
    recreated,
    unreadable,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """Facts about a partition before its rewind.

    Attributes:
        kept: the events that the hub retains.
        before: the old checkpoint, or None.
        highest: number of the highest start that skips no event.
        warnings: about the hub and the checkpoint.
    """

    kept: HubRange
    before: Checkpoint | None
    highest: int
    warnings: tuple[RewindWarning, ...] = ()


class RewindPlanner:
    """A planner of rewinds of one hub and consumer group."""

    def __init__(
        self,
        stores: RewindStores,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._stores = stores
        self._now_ms = now_ms

    async def plan(
        self, partitions: Sequence[str] | None, sequence_number: int | None
    ) -> RewindPlan:
        """See `Rewind.plan`."""
        steps: list[RewindStep] = []
        refused: list[tuple[str, Exception]] = []
        chosen, created_ms = (
            await self._chosen(partitions),
            await self._stores.positions.created_ms(),
        )
        for partition in chosen:
            try:
                steps.append(await self._step(partition, sequence_number, created_ms))
            except ProcessingError as error:
                refused.append((partition, error))
            except Exception as error:  # an odd record of this partition
                refused.append((partition, _unexpected(partition, error)))
        return plan_of(steps, refused, await self._hub_warnings(created_ms))

    async def plan_to_marks(
        self, partitions: Sequence[str] | None, *, force: bool = False
    ) -> RewindPlan:
        """See `Rewind.plan_to_marks`."""
        steps: list[RewindStep] = []
        refused: list[tuple[str, Exception]] = []
        reasons: list[str] = []
        chosen, created_ms = (
            await self._chosen(partitions),
            await self._stores.positions.created_ms(),
        )
        for partition in chosen:
            try:
                stored = await self._stores.marks.read(self._source(partition))
                if stored is None:
                    reasons.append(f"partition {partition} has no mark")
                elif not force and await self.has_token(stored):
                    reasons.append(f"Redis has the token of partition {partition}'s mark")
                else:
                    steps.append(await self._step_to_mark(partition, stored, created_ms))
            except ProcessingError as error:
                refused.append((partition, error))
            except Exception as error:  # an odd record of this partition
                refused.append((partition, _unexpected(partition, error)))
        if reasons and not refused and (partitions or not steps):
            raise RewindRefusedError(
                f"Redis has lost no parked events: {'; '.join(reasons)}. --to takes a sequence "
                "number, and --to-start rewinds to the first retained event"
            )
        return plan_of(steps, refused, await self._hub_warnings(created_ms))

    async def has_token(self, stored: StoredMark) -> bool:
        """Return whether Redis has the token of a mark."""
        return (await self._stores.parking.summary(stored.mark.source)).mark == stored.mark.token

    async def _hub_warnings(self, created_ms: int) -> list[RewindWarning]:
        """Return a warning if keys have come to other partitions lately."""
        if self._stores.changes is None:
            return []
        partitions = len(await self._stores.positions.partitions())
        try:
            changes = await self._stores.changes.observe(created_ms, partitions)
            change = latest_growth(changes, self._now_ms())
        except StorageUnavailableError as error:
            return [RewindWarning(WarningKind.UNKNOWN, f"The hub's changes are not known: {error}")]
        if change is None:
            return []
        try:
            moved = await find_moved(self._stores.parking, change)
        except StorageUnavailableError as error:
            moved = MovedKeys(change, unknown=str(error))
        known = moved.text(repr)
        text = (
            f"{known[0].upper()}{known[1:]}. A rewind brings back a key's events of each rewound "
            "partition, without an order between the partitions"
        )
        return [RewindWarning(WarningKind.MOVED, text)]

    async def _chosen(self, partitions: Sequence[str] | None) -> Sequence[str]:
        known = await self._stores.positions.partitions()
        for partition in partitions or ():
            if partition not in known:
                raise RewindRefusedError(
                    f"the hub {self._stores.identity.hub} has no partition {partition!r} (it has: "
                    f"{', '.join(known)})"
                )
        return partitions or known

    async def _step(
        self, partition: str, sequence_number: int | None, created_ms: int
    ) -> RewindStep:
        place = await self._place(partition, created_ms, replaces=sequence_number is None)
        kept = place.kept
        first = kept.first if sequence_number is None else sequence_number
        if not kept.first <= first <= kept.end:
            raise RewindRefusedError(
                f"partition {partition} retains {_retained(kept)}; event {first} is not among them"
            )
        if first > place.highest:
            raise RewindRefusedError(
                f"{_position(partition, place)}; a start at {first} would skip "
                f"{first - place.highest} events; the highest accepted sequence number is "
                f"{place.highest}"
            )
        step = self._step_at(partition, first, place, created_ms)
        return await self._with_warnings(step, kept, await self._lost(partition, first))

    async def _step_to_mark(
        self, partition: str, stored: StoredMark, created_ms: int
    ) -> RewindStep:
        place = await self._place(partition, created_ms, replaces=False)
        kept, oldest = place.kept, stored.mark.oldest.sequence_number
        warnings: list[RewindWarning] = []
        if oldest >= kept.end:
            first = place.highest
            text = (
                f"The hub was recreated and has no event {oldest}. The events that only Redis had "
                "are gone"
            )
            place = replace(place, warnings=(RewindWarning(WarningKind.RECREATED, text),))
        else:
            first = max(kept.first, min(oldest, place.highest))
            if oldest < kept.first:
                text = (
                    f"The hub no longer retains the events {oldest} to {kept.first - 1}. Up to "
                    f"{kept.first - oldest} events that only Redis had are gone"
                )
                warnings.append(RewindWarning(WarningKind.EXPIRED, text))
        step = replace(self._step_at(partition, first, place, created_ms), mark=stored)
        return await self._with_warnings(step, kept, warnings)

    async def _place(self, partition: str, created_ms: int, *, replaces: bool) -> _Place:
        """Return what is known of a partition.

        Args:
            partition: the partition's id.
            created_ms: the hub's time of creation, milliseconds since 1970.
            replaces: whether the rewind may replace a checkpoint that cannot be read, because it
                starts at the first retained event and so skips nothing.
        """
        kept = await self._stores.positions.range(partition)
        try:
            before = await self._stores.checkpoints.read(partition)
        except CheckpointUnreadableError as error:
            if not replaces:
                raise RewindRefusedError(f"{error}; --to-start replaces it") from error
            return _Place(kept, None, kept.first, (unreadable(error),))
        progress = await self._stores.progress.load(self._source(partition))
        watermark = progress.watermark
        if other := recreated(kept, before, progress, created_ms):
            # No event of the present hub is known to be handled, so no event may be skipped.
            return _Place(kept, before, kept.first, other)
        checkpointed = kept.first if before is None else before.sequence_number + 1
        # Expired events cannot be skipped any more.
        handled = checkpointed if watermark is None else watermark.sequence_number + 1
        gone = kept.first - max(checkpointed, handled)
        return _Place(kept, before, max(checkpointed, kept.first), expired(gone, kept.first))

    def _step_at(self, partition: str, first: int, place: _Place, created_ms: int) -> RewindStep:
        kept, before = place.kept, place.before
        checkpointed = kept.first if before is None else before.sequence_number + 1
        return RewindStep(
            partition=partition,
            first=first,
            before=None if before is None else before.sequence_number,
            events=max(0, min(checkpointed, kept.end) - first),
            at_start=first == kept.first,
            created_ms=created_ms,
            warnings=place.warnings,
        )

    async def _with_warnings(
        self, step: RewindStep, kept: HubRange, more: Sequence[RewindWarning]
    ) -> RewindStep:
        """Add the warnings about events that an operator does not expect to come back."""
        source = self._source(step.partition)
        warnings = [*step.warnings, *more]
        try:
            places = await self._stores.discards.places(source)
            warnings += discarded(places, step.first, kept.end, step.created_ms)
            warnings += lists(await self._stores.parking.summary(source))
        except StorageUnavailableError as error:
            text = (
                "Whether discarded events come back, and whether keys are deferred, is not known: "
                f"{error}"
            )
            warnings.append(RewindWarning(WarningKind.UNKNOWN, text))
        return replace(step, warnings=tuple(warnings))

    async def _lost(self, partition: str, first: int) -> list[RewindWarning]:
        """Return a warning if Redis has lost parked events, because this rewind is not for them."""
        try:
            stored = await self._stores.marks.read(self._source(partition))
        except (MarkUnreadableError, FormatError) as error:
            return [RewindWarning(WarningKind.MARK, str(error))]
        if stored is None or await self.has_token(stored):
            return []
        return [lost(stored.mark.oldest.sequence_number, first)]

    def _source(self, partition: str) -> Source:
        return Source(self._stores.identity, partition)


def _unexpected(partition: str, error: Exception) -> RewindRefusedError:
    logger.error("The rewind of partition %s cannot be planned", partition, exc_info=error)
    return RewindRefusedError(f"{type(error).__name__}: {error}")


def _retained(kept: HubRange) -> str:
    if kept.first == kept.end:
        return f"no event (the next one is {kept.end})"
    return f"the events {kept.first} to {kept.end - 1}"


def _position(partition: str, place: _Place) -> str:
    if any(each.kind is WarningKind.RECREATED for each in place.warnings):
        return f"the hub of partition {partition} was recreated"
    return f"partition {partition} is checkpointed up to event {place.highest - 1}"
