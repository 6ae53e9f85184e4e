"""Job of a rewind: the operator, the target, the plan that was shown, and the result."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from starlette.exceptions import HTTPException

from console.web.requests import text_in

if TYPE_CHECKING:
    from processing.partitions.rewind import Rewind
    from processing.partitions.rewind_plan import RewindPlan

PARTITION_CHARS = 20
MOST_NUMBER = 2**63


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a rewind.

    Attributes:
        partition: the partition's id; None: all partitions.
        to: "start", "mark", or the sequence number of the first event to process again.
    """

    partition: str | None
    to: Literal["start", "mark"] | int

    @property
    def partitions(self) -> list[str] | None:
        """The partitions for the plan."""
        return None if self.partition is None else [self.partition]

    @property
    def text(self) -> str:
        """The target as a text for people."""
        where = "all partitions" if self.partition is None else f"partition {self.partition}"
        if self.to == "start":
            return f"{where} to the first retained event"
        return f"{where} to its mark" if self.to == "mark" else f"{where} to event {self.to}"

    def document(self) -> dict[str, Any]:
        """Return the target as the page sends it."""
        return {"partition": self.partition, "to": self.to}


@dataclass(frozen=True, slots=True)
class Shown:
    """The plan of one partition, as the operator saw it before confirming."""

    first: int
    warnings: frozenset[str]


@dataclass(slots=True, eq=False)
class RewindJob:
    """A rewind with the app's stop and start.

    Attributes:
        by: the operator.
        target: the target.
        shown: the plan that the operator has confirmed, by partition.
        id: the job's id.
        stage: the stage, see `processing.site.restart.Stage`; "" before the first.
        seconds: seconds in this stage.
        most: time limit of the stage, in seconds.
        rewind: the opened rewind, or None.
    """

    by: str
    target: Target
    shown: Mapping[str, Shown]
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    stage: str = ""
    seconds: float = 0.0
    most: float = 0.0
    rewind: Rewind | None = None

    def document(self, **result: Any) -> dict[str, Any]:
        """Return the message to the browsers."""
        return {
            "job": self.id,
            "by": self.by,
            "target": self.target.document(),
            "text": self.target.text,
            "time": time.time_ns() // 1_000_000,
            "stage": self.stage,
            "seconds": int(self.seconds),
            "most": int(self.most),
            "stopped_at": None,
            "lines": [],
            "failed": False,
            "done": False,
        } | result

    async def owned_seconds(self) -> float:
        """Return the time until the last ownership of the shown partitions expires, or 0.0."""
        assert self.rewind is not None  # noqa: S101 - the job opens the rewind first
        return await self.rewind.owned_seconds(set(self.shown))

    def difference(self, plan: RewindPlan) -> str:
        """Return how a new plan exceeds the one that was shown; "" if it does not."""
        for step in plan.steps:
            shown = self.shown.get(step.partition)
            if shown is None:
                return f"partition {step.partition} was not in the plan"
            if step.first < shown.first:
                return (
                    f"partition {step.partition} would restart at event {step.first} instead of "
                    f"{shown.first}"
                )
            if more := [each for each in step.warnings if each.kind not in shown.warnings]:
                return f"partition {step.partition} has a new warning: {more[0].text}"
        return ""


def target_in(document: dict[str, Any]) -> Target:
    """Return the target of a request.

    Raises:
        HTTPException: 400 if a field is missing or invalid.
    """
    given = document.get("partition")
    partition = None if given is None else text_in(document, "partition", PARTITION_CHARS)
    to = document.get("to")
    if type(to) is int and 0 <= to < MOST_NUMBER:
        if partition is None:
            raise HTTPException(400, "to is a sequence number, so partition is needed")
        return Target(partition, to)
    if to == "start":
        return Target(partition, "start")
    if to == "mark":
        return Target(partition, "mark")
    raise HTTPException(400, 'to takes "start", "mark" or a sequence number (0 or more)')


def shown_in(document: dict[str, Any]) -> dict[str, Shown]:
    """Return the plan that the operator has confirmed.

    Raises:
        HTTPException: 400 if the field is missing or is not a plan.
    """
    rows = document.get("plan")
    try:
        shown = {str(row["partition"]): _shown(row) for row in rows or ()}
    except (KeyError, TypeError, ValueError):
        shown = {}
    if not shown:
        raise HTTPException(
            400, "plan is not the list of partitions that POST /api/rewind/plan returns"
        )
    return shown


def _shown(row: dict[str, Any]) -> Shown:
    return Shown(int(row["restart_at"]), frozenset(str(each["kind"]) for each in row["warnings"]))
