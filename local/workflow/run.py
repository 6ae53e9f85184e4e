"""One run of the workflow: where it stands, and the steps that led there."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self


class RunState(StrEnum):
    """Stopping → WaitingForApproval → Starting → Succeeded.

    Failed when an action does not go through, Cancelled when a newer opening took over, Skipped
    when the circuit had passed the opening before anything was done.
    """

    STOPPING = "Stopping"
    WAITING = "WaitingForApproval"
    STARTING = "Starting"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"

    @property
    def is_final(self) -> bool:
        """True when nothing more happens in the run."""
        return self not in {RunState.STOPPING, RunState.WAITING, RunState.STARTING}


@dataclass
class Step:
    """Something that a run did.

    Attributes:
        name: "triggered", "look_up", "stop", "request_approval", "approval", "start" or
            "superseded".
        at: when it began, ISO 8601, UTC.
        status: "Running", "Succeeded" or "Failed".
        detail: what came of it, for people.
        attempts: made by an action; 0 for what is none.
    """

    name: str
    at: str
    status: str
    detail: str = ""
    attempts: int = 0


@dataclass(frozen=True)
class Opening:
    """An opening of a circuit.

    A circuit whose store was emptied counts its generations anew: it takes the time as well to
    tell one opening from another.

    Attributes:
        at: when it happened, by the circuit's clock, seconds since 1970; None: not known.
    """

    circuit: str
    generation: int
    at: float | None = None

    @property
    def at_text(self) -> str | None:
        """When it happened, as CloudEvents write it."""
        return None if self.at is None else datetime.fromtimestamp(self.at, UTC).isoformat()

    def is_covered_by(self, other: Opening) -> bool:
        """Whether it is the other one, or came before it by all that is known."""
        return self.generation <= other.generation and self._compared(other) <= 0

    def is_after(self, other: Opening) -> bool:
        """Whether it came after the other one by all that is known."""
        return self.generation > other.generation and self._compared(other) >= 0

    def _compared(self, other: Opening) -> float:
        return 0 if self.at is None or other.at is None else self.at - other.at


@dataclass
class Run:
    """A run for one opening of one circuit.

    Attributes:
        at: when it opened; see `Opening`.
        id: unguessable, but no secret.
        sig: what a callback must show; never leaves this process but in the callback's URL.
        approved_by: the callback's word on who approved, once it came.
    """

    circuit: str
    generation: int
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    sig: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    state: RunState = RunState.STOPPING
    steps: list[Step] = field(default_factory=list)
    approved_by: str | None = None
    at: float | None = None

    @property
    def opening(self) -> Opening:
        """What it is for."""
        return Opening(self.circuit, self.generation, self.at)

    def as_dict(self) -> dict[str, Any]:
        """The public form, without the secret."""
        return {
            "id": self.id,
            "circuit": self.circuit,
            "generation": self.generation,
            "state": self.state.value,
            "steps": [dict(vars(step)) for step in self.steps],
        }

    def as_record(self) -> dict[str, Any]:
        """The private form, for the store."""
        return self.as_dict() | {"sig": self.sig, "approved_by": self.approved_by, "at": self.at}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what `as_record` wrote."""
        return cls(
            circuit=record["circuit"],
            generation=record["generation"],
            id=record["id"],
            sig=record["sig"],
            state=RunState(record["state"]),
            steps=[Step(**step) for step in record["steps"]],
            approved_by=record["approved_by"],
            at=record.get("at"),
        )
