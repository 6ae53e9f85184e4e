"""The value types of a circuit: states, snapshots, permits, changes and rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from breaker.kinds import CircuitKind, kind_of

MAX_ERROR_CHARS = 200
MAX_SAMPLES = 5
PROBE_FAILURES = 3
"""Number of failed probes that opens a half-open circuit again."""
ASK_US = 3_000_000
"""Time for which a key whose probe failed waits, since its failure and since another key asked."""
SUCCESS_BUCKETS = 10
SUCCESS_REPORTS = 10_000
"""Greatest number of report ids that a store keeps; a client repeats a report at once or never."""


class CircuitState(StrEnum):
    """The state of a circuit."""

    CLOSED = "closed"
    """Work starts; failures are counted."""
    OPEN = "open"
    """Nothing starts until an operator approves or the break is over."""
    HALF_OPEN = "half_open"
    """Only probes start, each with a permit."""
    ISOLATED = "isolated"
    """Opened by hand, until the isolation's end or until closed by hand."""


class CircuitEvent(StrEnum):
    """An event in the history; each event except APPROVED and WOULD_OPEN is also an alert."""

    OPENED = "opened"
    APPROVED = "approved"
    HALF_OPENED = "half_opened"
    CLOSED = "closed"
    ISOLATED = "isolated"
    WOULD_OPEN = "would_open"
    """A rule to open was met in mode observe."""


_RANK: Mapping[CircuitState, int] = {
    CircuitState.OPEN: 0,
    CircuitState.ISOLATED: 0,
    CircuitState.HALF_OPEN: 1,
    CircuitState.CLOSED: 2,
}


def position_of(generation: int, state: CircuitState) -> tuple[int, int]:
    """Return the position of a state in a circuit's life; a later state has a greater position.

    Within a generation the state only moves from open (or isolated) over half-open to closed. So a
    snapshot with a smaller position is older, or the store has lost data. No clock is compared.
    """
    return (generation, _RANK[state])


@dataclass(frozen=True, slots=True)
class Circuit:
    """A snapshot of a circuit. Times are seconds since the epoch by the store's clock.

    Attributes:
        name: the circuit's name.
        state: see `CircuitState`.
        generation: 0 before the first opening; each opening or isolation adds one.
        failures: failures inside the window.
        failure_threshold: number of failures inside the window that opens the circuit.
        window_seconds: length of the rolling window.
        opened_at: time of this generation's opening; None in generation 0.
        changed_at: time of the last change of state; None in generation 0.
        reason: reason of the last change of state.
        degraded: the shared store does not answer or takes no writes, and the snapshot is this
            instance's own.
        retry_after: seconds from the snapshot until `resume_at`; None if no timer runs.
        by: operator of the last change, or "timer"; empty after any other change.
        successes: successes inside the window (counted only with a ratio rule).
        probe_successes: successful probes so far in HALF_OPEN.
        resume_at: time at which the timer ends a break (the circuit goes half-open) or isolation;
            None if no timer runs.
        problem: why the shared store cannot be used, for an operator, if it takes no writes; else
            empty. It is also set on a store that has no memory left, and is then not degraded.
        ends_as: of an isolation: the state that follows its end, CLOSED, or OPEN with a new
            generation if the circuit was not closed before; else None.
        holding: degraded and within the grace time, so that nothing may start.
        as_of: time of the snapshot.
        failed_attempts: attempts that have failed since the last success, while closed.
        last_success_at: time of the fleet's last reported success; None if unknown.
        probe_failures: failed probes that count so far in HALF_OPEN.
        stops_app: whether this generation's opening asks the workflow to stop the function app, as
            the instance that opened the circuit was set up; True in generation 0.
    """

    name: str
    state: CircuitState = CircuitState.CLOSED
    generation: int = 0
    failures: int = 0
    failure_threshold: int = 0
    window_seconds: float = 0.0
    opened_at: float | None = None
    changed_at: float | None = None
    reason: str = ""
    degraded: bool = False
    retry_after: float | None = None
    by: str = ""
    successes: int = 0
    probe_successes: int = 0
    resume_at: float | None = None
    holding: bool = False
    as_of: float | None = None
    failed_attempts: int = 0
    last_success_at: float | None = None
    probe_failures: int = 0
    ends_as: CircuitState | None = None
    problem: str = ""
    stops_app: bool = True

    @property
    def kind(self) -> CircuitKind:
        """The kind of this generation's opening."""
        return kind_of(self.name, stops_app=self.stops_app)

    @property
    def admits(self) -> bool:
        """Return whether work may start without a probe's permit: closed and not on hold."""
        return self.state is CircuitState.CLOSED and not self.holding

    @property
    def position(self) -> tuple[int, int]:
        """See `position_of`."""
        return position_of(self.generation, self.state)


@dataclass(frozen=True, slots=True)
class Permit:
    """A permit to start; its outcome counts for its generation only.

    `probe_id` is set in HALF_OPEN only. Such a permit is a lease that expires after
    `permit_seconds`, and `key` is the token of the key that is probed; empty if unknown.
    """

    generation: int
    probe_id: str | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """The result of an operation on a store.

    Attributes:
        circuit: the state after the operation.
        transitions: number of state changes, each with an entry in the outbox.
        outcome: "done"; "ignored" (the permit is of an older generation, or the operation has no
            effect in this state); "already" (a repeated command); "stale" or "isolated" (a refused
            command).
        would_open: reason to open that mode "observe" did not follow; empty if no rule was met, or
            if a rule has been met all the time since the last report.
        refused: why the store took no writes at this read, for an operator; else empty.
        is_full: whether `refused` only says that the store has no memory left. What frees memory
            still works then.
    """

    circuit: Circuit
    transitions: int = 0
    outcome: str = "done"
    would_open: str = ""
    refused: str = ""
    is_full: bool = False


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An entry of the history; `at` is in seconds since the epoch by the store's clock.

    `kind` is that of the generation's opening, and of `would_open` that of the opening that was
    not made.
    """

    event: str
    generation: int
    by: str
    at: float
    reason: str
    instance: str
    kind: CircuitKind = CircuitKind.APP


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a circuit in a store's units, and the name of the instance.

    `break_us` 0 means manual recovery; `failure_ratio` 0 means no ratio rule;
    `standstill_failures` 0 means no standstill rule; `observe` means that a rule that is met is
    reported, but does not open the circuit. `stops_app` is that of an opening.
    `registration` is the text of `breaker.registration.settings_text` that a poll registers for the
    instance; empty: none.
    """

    failure_threshold: int
    window_us: int
    failure_ratio: float
    minimum_throughput: int
    break_us: int
    break_max_us: int
    half_open_permits: int
    permit_us: int
    history_limit: int
    outbox_limit: int
    instance: str
    standstill_failures: int = 0
    fresh_us: int = 3_000_000
    observe: bool = False
    registration: str = ""
    stops_app: bool = True

    @property
    def bucket_us(self) -> int:
        """Width of one bucket of successes in microseconds."""
        return max(1, self.window_us // SUCCESS_BUCKETS)


def clip(text: str, limit: int = MAX_ERROR_CHARS) -> str:
    """Return a text that fits a store: at most `limit` characters, encodable as UTF-8."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= limit else text[: limit - 1] + "…"
