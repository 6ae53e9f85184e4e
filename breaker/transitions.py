"""The pure rules that move a circuit; the stores make them atomic.

Times inside a store are whole microseconds of that store's clock, so that the memory store and
the Redis scripts compute the same numbers; snapshots show seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from breaker.state import Circuit, CircuitState, Rules, position_of


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
        """See `position_of`."""
        return position_of(self.generation, self.state)


def tripped(failures: int, successes: int, rules: Rules, error: str = "") -> str | None:
    """Why this many failures and successes inside the window open the circuit, or None.

    The last error is part of it: whoever is woken by it wants to know what failed.
    """
    window = rules.window_us / 1_000_000
    last = f"; the last: {error}" if error else ""
    if failures >= rules.failure_threshold:
        threshold = rules.failure_threshold
        return f"{failures} failures within {window:g} s (threshold {threshold}){last}"
    total = failures + successes
    if (
        rules.failure_ratio > 0
        and total >= rules.minimum_throughput
        and failures >= rules.failure_ratio * total
    ):
        ratio = rules.failure_ratio
        return f"{failures} of {total} failed within {window:g} s (ratio {ratio:g}){last}"
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
