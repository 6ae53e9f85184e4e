"""The plan of a rewind: what changes in each partition, and what the operator must know first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from processing.errors import ProcessingError, StorageUnavailableError
from processing.parking.marks import StoredMark


class RewindRefusedError(ProcessingError):
    """An error for a rewind that would skip events, or for which there is no reason."""


class WarningKind(StrEnum):
    """The kind of a warning about a rewind."""

    RECREATED = "recreated"
    """The hub was recreated, so the old position belongs to another hub."""
    EXPIRED = "expired"
    """The hub no longer retains some of the events."""
    CHECKPOINT = "checkpoint"
    """The old checkpoint cannot be read."""
    MARK = "mark"
    """Redis has lost parked events, and this rewind does not bring them all back."""
    DISCARDED = "discarded"
    """The handler gets events again that an operator has discarded."""
    MOVED = "moved"
    """The number of partitions changed, so that events of a key may be in two partitions."""
    LISTS = "lists"
    """Keys of the partition are deferred or parked."""
    UNKNOWN = "unknown"
    """A store did not answer, so a warning may be missing."""


@dataclass(frozen=True, slots=True)
class RewindWarning:
    """A sentence about a rewind for the operator, without its full stop."""

    kind: WarningKind
    text: str


@dataclass(frozen=True, slots=True)
class RewindStep:
    """The rewind of one partition.

    Attributes:
        first: sequence number of the first event to process again.
        before: sequence number of the old checkpoint; None: there is none, or it is unreadable.
        events: number of checkpointed events to process again.
        at_start: whether `first` is the first retained event.
        created_ms: time at which the hub was created, milliseconds since 1970; the run stores it.
        mark: the mark to which the partition is rewound; the run deletes the mark.
        warnings: what the operator must know before the rewind.
    """

    partition: str
    first: int
    before: int | None
    events: int
    at_start: bool = False
    created_ms: int = 0
    mark: StoredMark | None = None
    warnings: tuple[RewindWarning, ...] = ()

    @property
    def note(self) -> str:
        """The texts of all warnings, or ""."""
        return ". ".join(each.text for each in self.warnings)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A partition that the rewind leaves as it is, with the reason."""

    partition: str
    reason: str


@dataclass(frozen=True, slots=True)
class RewindPlan:
    """The plan of a rewind.

    Attributes:
        steps: the partitions that are rewound.
        left_out: the partitions that should be rewound and cannot be.
        warnings: what the operator must know about the whole hub.
    """

    steps: tuple[RewindStep, ...]
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[RewindWarning, ...] = ()


def plan_of(
    steps: Sequence[RewindStep],
    refused: Sequence[tuple[str, Exception]],
    warnings: Sequence[RewindWarning] = (),
) -> RewindPlan:
    """Return the plan.

    Raises:
        Exception: no partition can be rewound; the error of the partition, if it is the only one.
        StorageUnavailableError: none of several partitions can be rewound now.
        RewindRefusedError: none of several partitions can be rewound.
    """
    if refused and not steps:
        if len(refused) == 1:
            raise refused[0][1]
        reasons = "; ".join(f"partition {partition}: {error}" for partition, error in refused)
        # A repeat may help if a store did not answer.
        passing = any(isinstance(error, StorageUnavailableError) for _, error in refused)
        kind = StorageUnavailableError if passing else RewindRefusedError
        raise kind(f"no partition can be rewound: {reasons}")
    left_out = tuple(LeftOut(partition, str(error)) for partition, error in refused)
    return RewindPlan(tuple(steps), left_out, tuple(warnings))


def plan_document(plan: RewindPlan) -> dict[str, Any]:
    """Return a plan in the form of JSON."""
    return {
        "partitions": [
            {
                "partition": step.partition,
                "old_checkpoint": step.before,
                "restart_at": step.first,
                "events": step.events,
                "warnings": [{"kind": each.kind, "text": each.text} for each in step.warnings],
            }
            for step in plan.steps
        ],
        "warnings": [{"kind": each.kind, "text": each.text} for each in plan.warnings],
        "left_out": [
            {"partition": each.partition, "reason": each.reason} for each in plan.left_out
        ],
    }
