"""The circuit's states and the pure rules that move it; the stores make them atomic.

Times inside a store are whole microseconds of that store's clock, so that the memory store and
the Redis scripts compute the same numbers; snapshots show seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

MAX_ERROR_CHARS = 200
MAX_SAMPLES = 5
SUCCESS_BUCKETS = 10


class CircuitState(StrEnum):
    """What the fleet may do."""

    CLOSED = "closed"
    """Work goes on; failures are counted."""
    OPEN = "open"
    """Nothing starts until an operator approves or the break is over."""
    HALF_OPEN = "half_open"
    """Only probes start, each with a permit."""
    ISOLATED = "isolated"
    """Opened by hand; only closing by hand ends it."""


class CircuitEvent(StrEnum):
    """What is written into the history and, for transitions, sent as an alert."""

    OPENED = "opened"
    APPROVED = "approved"
    HALF_OPENED = "half_opened"
    CLOSED = "closed"
    ISOLATED = "isolated"


_RANK: Mapping[CircuitState, int] = {
    CircuitState.OPEN: 0,
    CircuitState.ISOLATED: 0,
    CircuitState.HALF_OPEN: 1,
    CircuitState.CLOSED: 2,
}


@dataclass(frozen=True, slots=True)
class Circuit:
    """What was known of the circuit at one moment.

    Attributes:
        name: the circuit's name.
        state: see `CircuitState`.
        generation: 0 before any opening, one more at each opening or isolation.
        failures: failures inside the window.
        failure_threshold: that many failures inside the window open the circuit.
        window_seconds: length of the sliding window.
        opened_at: when this generation opened, seconds since the epoch by the store's clock.
        changed_at: when the state last changed, likewise.
        reason: why it is in this state.
        degraded: the shared store does not answer; this is what the instance knows by itself.
        retry_after: seconds until the circuit goes half-open by itself, at the time of the
            snapshot; None when it does not.
        by: who caused the last change, when it was a person or the timer.
        successes: successes inside the window (counted only with a ratio rule).
        probe_successes: probes that succeeded so far in HALF_OPEN.
        resume_at: when it goes half-open by itself, seconds since the epoch by the store's clock.
        holding: degraded, and still within the grace time: nothing may start.
        as_of: when this was true, seconds since the epoch by the store's clock.
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

    @property
    def admits(self) -> bool:
        """Whether work may start without asking for a permit: closed and not on hold."""
        return self.state is CircuitState.CLOSED and not self.holding

    @property
    def position(self) -> tuple[int, int]:
        """Order of states over time: a later one is greater, whatever the clocks say.

        A generation only ever goes from open (or isolated) over half-open to closed, so a
        snapshot with a smaller position is an older one, or the store has lost data.
        """
        return (self.generation, _RANK[self.state])


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to start, and the generation that its outcome will be counted for.

    `probe_id` is set in HALF_OPEN only: such a permit is a lease and comes back by itself.
    """

    generation: int
    probe_id: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What an operation on a store did.

    Attributes:
        circuit: the state after it.
        transitions: how many state changes it made (each with its entry in the outbox).
        outcome: "done"; "ignored" (older generation, or a state in which it means nothing);
            "already" (an approval repeated); "stale", "isolated" (an operator's act refused).
    """

    circuit: Circuit
    transitions: int = 0
    outcome: str = "done"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """Who changed what, when (seconds since the epoch by the store's clock) and why."""

    event: str
    generation: int
    by: str
    at: float
    reason: str
    instance: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers that decide, in the units of the stores, and who asks.

    `break_us` 0 means manual recovery; `failure_ratio` 0 means that there is no ratio rule.
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

    @property
    def bucket_us(self) -> int:
        """Width of one bucket of successes."""
        return max(1, self.window_us // SUCCESS_BUCKETS)


@dataclass(frozen=True, slots=True)
class Record:
    """What a store keeps of the state itself; 0 stands for "not set"."""

    state: CircuitState = CircuitState.CLOSED
    generation: int = 0
    opened_at_us: int = 0
    changed_at_us: int = 0
    resume_at_us: int = 0
    break_us: int = 0
    reason: str = ""
    by: str = ""

    @property
    def position(self) -> tuple[int, int]:
        """See `Circuit.position`."""
        return (self.generation, _RANK[self.state])


def clip(text: str, limit: int = MAX_ERROR_CHARS) -> str:
    """Text that fits a store: bounded, and encodable whatever it held."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def tripped(failures: int, successes: int, rules: Rules) -> str | None:
    """Why this many failures and successes inside the window open the circuit, or None."""
    window = rules.window_us / 1_000_000
    if failures >= rules.failure_threshold:
        return f"{failures} failures within {window:g} s (threshold {rules.failure_threshold})"
    total = failures + successes
    if (
        rules.failure_ratio > 0
        and total >= rules.minimum_throughput
        and failures >= rules.failure_ratio * total
    ):
        ratio = rules.failure_ratio
        return f"{failures} of {total} failed within {window:g} s (ratio {ratio:g})"
    return None


def opened(record: Record, rules: Rules, now_us: int, reason: str) -> Record:
    """The next generation, open; after a failed probe the break doubles up to its maximum."""
    break_us = rules.break_us
    if break_us and record.state is CircuitState.HALF_OPEN and record.break_us:
        break_us = min(record.break_us * 2, rules.break_max_us)
    return Record(
        state=CircuitState.OPEN,
        generation=record.generation + 1,
        opened_at_us=now_us,
        changed_at_us=now_us,
        resume_at_us=now_us + break_us if break_us else 0,
        break_us=break_us,
        reason=reason,
    )


def isolated(record: Record, now_us: int, reason: str, by: str) -> Record:
    """The next generation, held open by hand."""
    return Record(
        state=CircuitState.ISOLATED,
        generation=record.generation + 1,
        opened_at_us=now_us,
        changed_at_us=now_us,
        reason=reason,
        by=by,
    )


def half_opened(record: Record, now_us: int, reason: str, by: str) -> Record:
    """The same generation, letting probes through."""
    return replace(
        record,
        state=CircuitState.HALF_OPEN,
        changed_at_us=now_us,
        resume_at_us=0,
        reason=reason,
        by=by,
    )


def closed(record: Record, now_us: int, reason: str, by: str) -> Record:
    """The same generation, working again; the next break starts short."""
    return replace(
        record,
        state=CircuitState.CLOSED,
        changed_at_us=now_us,
        resume_at_us=0,
        break_us=0,
        reason=reason,
        by=by,
    )


def break_is_over(record: Record, now_us: int) -> bool:
    """Whether the timer moves the circuit to half-open now."""
    return record.state is CircuitState.OPEN and 0 < record.resume_at_us <= now_us


def snapshot(
    name: str,
    record: Record,
    rules: Rules,
    now_us: int,
    *,
    failures: int,
    successes: int,
    probe_successes: int,
) -> Circuit:
    """The public view of a record."""
    resume_at_us = record.resume_at_us
    return Circuit(
        name=name,
        state=record.state,
        generation=record.generation,
        failures=failures,
        failure_threshold=rules.failure_threshold,
        window_seconds=rules.window_us / 1_000_000,
        opened_at=_seconds(record.opened_at_us),
        changed_at=_seconds(record.changed_at_us),
        reason=record.reason,
        retry_after=max(0, resume_at_us - now_us) / 1_000_000 if resume_at_us else None,
        by=record.by,
        successes=successes,
        probe_successes=probe_successes,
        resume_at=_seconds(resume_at_us),
        as_of=now_us / 1_000_000,
    )


def record_of(known: Circuit, rules: Rules) -> Record:
    """The record behind a snapshot, for a store that has lost it."""
    return Record(
        state=known.state,
        generation=known.generation,
        opened_at_us=round((known.opened_at or 0) * 1_000_000),
        changed_at_us=round((known.changed_at or 0) * 1_000_000),
        resume_at_us=round((known.resume_at or 0) * 1_000_000),
        break_us=rules.break_us if known.state is CircuitState.OPEN else 0,
        reason=known.reason,
        by=known.by,
    )


def _seconds(at_us: int) -> float | None:
    return at_us / 1_000_000 if at_us else None
