"""The numbers of a deferral: what a failed replay adds, and when the first event is poisoned."""

from __future__ import annotations

import time
from dataclasses import replace

from breaker import Circuit, CircuitState
from processing.deferring.parts import error_text
from processing.errors import BodyLostError
from processing.handlers.failures.kind import Failure, FailureKind
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import Position
from processing.settings import ProcessingSettings

REASONS = {
    FailureKind.DEPENDENCY: DeferralReason.DEPENDENCY,
    FailureKind.THROTTLED: DeferralReason.THROTTLED,
    FailureKind.REFUSED: DeferralReason.REFUSED,
    FailureKind.FAULTY: DeferralReason.FAULTY,
    FailureKind.OVERDUE: DeferralReason.DEPENDENCY,  # an older instance knows no other reason
}


def of_head(deferral: Deferral, head: Position) -> Deferral:
    """Return the deferral of the event that is the first one now.

    The numbers of an earlier first event say nothing about its successor.
    """
    if deferral.head in ("", head):
        return replace(deferral, head=head)
    return Deferral(
        deferral.reason,
        since=deferral.since,
        last_try=deferral.last_try,
        dependency=deferral.dependency,
        error=deferral.error,
        generation=deferral.generation,
        head=head,
    )


def failed_again(
    deferral: Deferral, failure: Failure, app: Circuit, own: Circuit | None = None
) -> Deferral:
    """Return the deferral after a failed replay of the first event.

    Args:
        deferral: the deferral before the replay; `of_head`.
        failure: the failure of the replay.
        app: the app's circuit after the replay.
        own: the circuit of the dependency that the failure names, after the replay; None: the
            failure counts for the app's circuit.
    """
    circuit = app if own is None else own
    failed_before = deferral.attempts > 0
    round_counts = failed_before and failure.kind is FailureKind.DEPENDENCY
    served = round_counts and has_served_since(circuit, deferral.last_try)
    admitted = 0.0
    if failed_before:
        admitted = min(closed_seconds_since(each, deferral.last_try) for each in (app, circuit))
    return replace(
        deferral,
        reason=REASONS.get(failure.kind, deferral.reason),
        dependency=failure.dependency,
        error=error_text(failure.error),
        attempts=deferral.attempts + failure.attempts,
        tries=deferral.tries + 1,
        rounds=deferral.rounds + served,
        generation=circuit.generation,
        admitted_seconds=deferral.admitted_seconds + admitted,
        first_attempt=first_attempt(deferral, failure),
    ).clipped()


def why_poisoned(deferral: Deferral, kind: FailureKind, settings: ProcessingSettings) -> str:
    """Return why an event whose failures keep it is poisoned now; "" if it waits on.

    A faulty handler, a limited rate and a refusal by an open circuit say nothing about the event.
    """
    if kind is not FailureKind.DEPENDENCY:
        return ""
    if 0 < settings.defer_rounds_max <= deferral.rounds:
        return (
            f"it failed in {deferral.rounds} replays while other keys succeeded "
            "(PROCESSING_DEFER_ROUNDS_MAX)"
        )
    most = settings.keep_max_seconds
    if most and deferral.admitted_seconds >= most:
        return f"it failed for {deferral.admitted_seconds:.0f} s (PROCESSING_KEEP_MAX_SECONDS)"
    return ""


def pause_seconds(deferral: Deferral, failure: Failure, settings: ProcessingSettings) -> float:
    """Return the pause before the next replay."""
    return deferral.pause_seconds(settings.defer_max_seconds, failure.retry_after)


def first_attempt(deferral: Deferral, failure: Failure) -> float:
    """Return the time of the first event's first attempt, before or in this replay."""
    if deferral.attempts == 0:
        return failure.first_attempt
    return deferral.first_attempt or deferral.since or failure.first_attempt


def has_served_since(circuit: Circuit, time: float) -> bool:
    """Return whether the fleet has had a success after a time of the store's clock.

    A closing counts as a success for the circuit, but not here: nothing was served.
    """
    return (circuit.last_success_at or 0.0) > max(time, circuit.changed_at or 0.0)


def closed_seconds_since(circuit: Circuit, time: float) -> float:
    """Return the seconds after a time of the store's clock in which the circuit was closed.

    Only the circuit's present state is known, so time before its last change does not count.
    """
    if circuit.state is not CircuitState.CLOSED or circuit.as_of is None:
        return 0.0
    return max(0.0, circuit.as_of - max(time, circuit.changed_at or 0.0))


def lost(deferral: Deferral, error: BodyLostError) -> Failure:
    """Return the failure of an event whose body is lost."""
    now = time.time()
    first = deferral.first_attempt or deferral.since or now
    return Failure(FailureKind.POISON, error, deferral.attempts, first, now)
