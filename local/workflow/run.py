"""One run of the workflow, with its state and its steps."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self


class RunState(StrEnum):
    """The state of a run: Stopping → WaitingForApproval → Starting → Succeeded.

    A run is Failed when the app cannot be started, Cancelled when a newer opening starts a run, and
    Skipped when the circuit has passed the opening before the app is stopped.
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
        """Return whether the run has ended."""
        return self not in {RunState.STOPPING, RunState.WAITING, RunState.STARTING}


@dataclass
class Step:
    """A step of a run.

    Attributes:
        name: "triggered", "look_up", "stop", "request_approval", "approval", "start" or
            "superseded".
        at: start of the step, ISO 8601, UTC.
        status: "Running", "Succeeded" or "Failed".
        detail: result of the step, for people.
        attempts: number of attempts of an action; 0 for other steps.
    """

    name: str
    at: str
    status: str
    detail: str = ""
    attempts: int = 0


@dataclass(frozen=True)
class Opening:
    """An opening of a circuit.

    A circuit whose store was emptied restarts its generations at 1. Openings are therefore compared
    by generation and time.

    Attributes:
        circuit: name of the circuit.
        generation: number of the opening.
        at: time of the opening by the circuit's clock, in seconds since 1970; None if unknown.
    """

    circuit: str
    generation: int
    at: float | None = None

    @property
    def at_text(self) -> str | None:
        """The time of the opening in the format of CloudEvents; None if unknown."""
        return None if self.at is None else datetime.fromtimestamp(self.at, UTC).isoformat()

    def is_covered_by(self, other: Opening) -> bool:
        """Return whether this opening is the other one or is older by generation and time."""
        return self.generation <= other.generation and self._compared(other) <= 0

    def is_after(self, other: Opening) -> bool:
        """Return whether this opening is newer than the other one by generation and time."""
        return self.generation > other.generation and self._compared(other) >= 0

    def _compared(self, other: Opening) -> float:
        return 0 if self.at is None or other.at is None else self.at - other.at


@dataclass
class Run:
    """A run of the workflow for one opening of one circuit.

    Attributes:
        circuit: name of the circuit.
        generation: number of the opening.
        id: random id, which is not a secret.
        sig: secret of the callback; leaves this process only in the callback's URL.
        state: state of the run.
        steps: steps so far.
        approved_by: approver from the callback; None before the callback.
        at: time of the opening; see `Opening`.
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
        """The opening that the run handles."""
        return Opening(self.circuit, self.generation, self.at)

    def as_dict(self) -> dict[str, Any]:
        """Return the public form, without the secret."""
        return {
            "id": self.id,
            "circuit": self.circuit,
            "generation": self.generation,
            "state": self.state.value,
            "steps": [dict(vars(step)) for step in self.steps],
        }

    def as_record(self) -> dict[str, Any]:
        """Return the private form for the store, with the secret."""
        return self.as_dict() | {"sig": self.sig, "approved_by": self.approved_by, "at": self.at}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Build a run from a record that `as_record` returned."""
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
