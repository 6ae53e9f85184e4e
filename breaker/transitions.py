"""Transition rules of a circuit, as pure functions; the stores apply the rules atomically.

Times inside a store are whole microseconds of the store's clock, so that the memory store and the
Redis scripts compute the same numbers. Snapshots show seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from breaker.state import PROBE_FAILURES, Circuit, CircuitState, Rules, position_of


@dataclass(frozen=True, slots=True)
class Record:
    """The stored state of a circuit; 0 means "not set"."""

    state: CircuitState = CircuitState.CLOSED
    generation: int = 0
    opened_at_us: int = 0
    changed_at_us: int = 0
    resume_at_us: int = 0
    break_us: int = 0
    reason: str = ""
    by: str = ""
    ends_as: CircuitState | None = None
    stops_app: bool = True

    @property
    def position(self) -> tuple[int, int]:
        """See `position_of`."""
        return position_of(self.generation, self.state)


def tripped(failures: int, successes: int, rules: Rules, error: str = "") -> str | None:
    """Return the reason to open at these counts inside the window; None to stay closed.

    The reason includes the last error, because operators read the reason first.
    """
    window = rules.window_us / 1_000_000
    last = f"; last error: {error}" if error else ""
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


def probes_failed(error: str) -> str:
    """Return the reason of the opening after the last probe that may fail."""
    last = f"; last error: {error}" if error else ""
    return f"{PROBE_FAILURES} probes failed{last}"


def opened(record: Record, rules: Rules, now_us: int, reason: str) -> Record:
    """Return the next generation, open.

    An opening by failed probes doubles the break, up to its maximum. The opening at an isolation's
    end has the isolation's `stops_app`, because a tool with other rules may make that transition.
    """
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
        stops_app=(record.stops_app if record.state is CircuitState.ISOLATED else rules.stops_app),
    )


def isolated(
    record: Record, rules: Rules, now_us: int, length_us: int, *, reason: str, by: str
) -> Record:
    """Return the next generation, isolated by hand; `length_us` 0 means without an end.

    A circuit that is isolated already gets the new end, also in a new generation: an instance that
    knows only the old end must not restore it.
    """
    again = record.state is CircuitState.ISOLATED
    ends_as = CircuitState.CLOSED if record.state is CircuitState.CLOSED else CircuitState.OPEN
    return Record(
        state=CircuitState.ISOLATED,
        generation=record.generation + 1,
        opened_at_us=now_us,
        changed_at_us=now_us,
        resume_at_us=now_us + length_us if length_us else 0,
        reason=reason,
        by=by,
        ends_as=record.ends_as if again else ends_as,
        stops_app=rules.stops_app,
    )


def half_opened(record: Record, now_us: int, reason: str, by: str) -> Record:
    """Return the same generation, half-open."""
    return replace(
        record,
        state=CircuitState.HALF_OPEN,
        changed_at_us=now_us,
        resume_at_us=0,
        reason=reason,
        by=by,
    )


def closed(record: Record, now_us: int, reason: str, by: str) -> Record:
    """Return the same generation, closed; the next break has its initial length again."""
    return replace(
        record,
        state=CircuitState.CLOSED,
        changed_at_us=now_us,
        resume_at_us=0,
        break_us=0,
        reason=reason,
        by=by,
        ends_as=None,
    )


def timer_is_due(record: Record, now_us: int) -> bool:
    """Return whether a break or an isolation is over."""
    return 0 < record.resume_at_us <= now_us


def snapshot(
    name: str,
    record: Record,
    rules: Rules,
    now_us: int,
    *,
    failures: int,
    successes: int,
    probe_successes: int,
    probe_failures: int,
    failed_attempts: int,
    success_us: int,
) -> Circuit:
    """Return the snapshot of a record."""
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
        failed_attempts=failed_attempts,
        last_success_at=_seconds(success_us),
        probe_failures=probe_failures,
        ends_as=record.ends_as,
        stops_app=record.stops_app,
    )


def record_of(known: Circuit, rules: Rules) -> Record:
    """Return the record of a snapshot, to restore a store that has lost its data."""
    return Record(
        state=known.state,
        generation=known.generation,
        opened_at_us=round((known.opened_at or 0) * 1_000_000),
        changed_at_us=round((known.changed_at or 0) * 1_000_000),
        resume_at_us=round((known.resume_at or 0) * 1_000_000),
        break_us=rules.break_us if known.state is CircuitState.OPEN else 0,
        reason=known.reason,
        by=known.by,
        ends_as=known.ends_as,
        stops_app=known.stops_app,
    )


def _seconds(at_us: int) -> float | None:
    return at_us / 1_000_000 if at_us else None
