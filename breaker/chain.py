"""Records of the chain that stops the app, asks for an approval, and starts the app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class StepKind(StrEnum):
    """A call that changes whether the app runs."""

    STOP = "stop"
    START = "start"


class WaitsFor(StrEnum):
    """The decision that a workflow run waits for."""

    APPROVAL = "approval"
    """The approval of an opening."""
    START = "start"
    """A start by an operator, after the run's own calls to start the app were refused."""


STEP_EVENTS: Mapping[tuple[StepKind, bool], str] = {
    (StepKind.STOP, True): "stop_accepted",
    (StepKind.STOP, False): "stop_refused",
    (StepKind.START, True): "start_accepted",
    (StepKind.START, False): "start_refused",
}
"""The event in the circuit's history for each kind of step, accepted or refused."""

APPROVAL_REQUESTED = "approval_requested"
ALERT_REPEATED = "alert_repeated"


FRESH_SECONDS = 3_600.0
"""A named run whose registration is older waits no more; a waiting run registers each half hour."""


def run_name(run: str) -> str:
    """Return how the history names a workflow run."""
    return f"workflow run {run}" if run else "workflow"


@dataclass(frozen=True, slots=True)
class Step:
    """A call to stop or start the app, with its answer. An accepted stop is not yet a stopped app.

    Attributes:
        kind: the call.
        generation: the circuit's generation for which the call was made.
        accepted: whether the platform accepted the call.
        detail: the answer, for example "HTTP 409"; empty if there is nothing to say.
        at: time of the call, seconds since the epoch, by the caller's clock.
        by: the caller: a workflow run or an operator.
    """

    kind: StepKind
    generation: int
    accepted: bool
    detail: str
    at: float
    by: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A workflow run that has registered a callback and waits.

    Attributes:
        generation: the generation of the run's opening.
        run: the run's name; empty if the caller gave none.
        waits_for: the decision that the run waits for.
        registered_at: time of the latest registration, seconds since the epoch by the store's
            clock; 0 if an earlier version registered the callback.
        attempts: number of failed calls.
    """

    generation: int
    run: str
    waits_for: WaitsFor
    registered_at: float
    attempts: int = 0


def waiting_order(waiting: Waiting) -> tuple[float, int, str, str]:
    """Return the key that sorts waiting runs, oldest registration first."""
    return (waiting.registered_at, waiting.generation, waiting.run, waiting.waits_for)


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """The recorded part of the chain.

    Attributes:
        waiting: the runs that wait, oldest registration first.
        stop: the latest stop on record, of any generation; None without one.
        start: the latest start on record, of any generation; None without one.
        repeats: how often the `opened` alert of the current generation was published again.
        repeated_at: time of the latest repeat, seconds since the epoch; None without one.
    """

    waiting: tuple[Waiting, ...] = ()
    stop: Step | None = None
    start: Step | None = None
    repeats: int = 0
    repeated_at: float | None = None
