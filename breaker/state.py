"""What there is to know of a circuit: its states, snapshots, permits, and the rules it follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MAX_ERROR_CHARS = 200
MAX_SAMPLES = 5
SUCCESS_BUCKETS = 10
SUCCESS_REPORTS = 10_000
"""How many ids of reports are remembered; a repeat comes at once, or not at all."""


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


def position_of(generation: int, state: CircuitState) -> tuple[int, int]:
    """Order of states over time: a later one is greater, whatever the clocks say.

    A generation only ever goes from open (or isolated) over half-open to closed, so a
    snapshot with a smaller position is an older one, or the store has lost data.
    """
    return (generation, _RANK[state])


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
        """See `position_of`."""
        return position_of(self.generation, self.state)


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


def clip(text: str, limit: int = MAX_ERROR_CHARS) -> str:
    """Text that fits a store: bounded, and encodable whatever it held."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= limit else text[: limit - 1] + "…"
