"""The deferral of a key by a lane: its first event begins the key's list."""

from __future__ import annotations

import logging

from processing.batch.outcome import BATCH_ERRORS
from processing.batch.run import BatchRun
from processing.deferring.parts import error_text
from processing.deferring.rounds import REASONS
from processing.dependencies.circuits import Circuits
from processing.errors import ParkingFullError
from processing.event import Event
from processing.formats.event_fields import log_fields
from processing.handlers.raised import type_name
from processing.handlers.retry import Failure
from processing.monitoring.reasons import Why
from processing.parking.deferral import Deferral
from processing.parking.event import ListKey, position_of
from processing.parking.store import ParkState
from processing.parking.waking import Seen, seen_of

logger = logging.getLogger(__name__)


async def defer(
    run: BatchRun, event: Event, key: ListKey, failure: Failure, *, refused: bool
) -> ParkState | None:
    """Defer an event's key; None if there is no room, so that the event waits in place.

    Args:
        run: the invocation.
        event: the event.
        key: the name of the event's list.
        failure: the failure, with all attempts of the event.
        refused: whether a circuit refuses the event. Then the key's replay is due when that circuit
            admits events, or after `defer_max_seconds`.
    """
    parts, parking = run.parts, run.parking
    if parking is None:
        return None
    deferral = Deferral(
        REASONS[failure.kind],
        dependency=failure.dependency,
        error=error_text(failure.error),
        attempts=failure.attempts,
        head=position_of(event),
        first_attempt=failure.first_attempt,
        generation=parts.breaker.circuit.generation,
    ).clipped()
    most = parts.settings.defer_max_seconds
    pause = deferral.pause_seconds(most, failure.retry_after)
    seen = _seen(parts.dependencies, failure.dependency) if refused else None
    if seen is not None:
        pause = most
    try:
        reply = await parking.defer(key, event, deferral, pause, seen)
    except ParkingFullError as error:
        logger.warning(
            "Event %s cannot be deferred and keeps its place: %s",
            *(event.id, error),
            extra=log_fields(event),
        )
        parts.watch.waits(event.source, event, Why.FULL, error)
        return None
    except BATCH_ERRORS:
        raise
    except Exception:  # of this event alone, for example parts that the handler replaced
        logger.exception(
            "Event %s cannot be stored in its parked list and keeps its place",
            event.id,
            extra=log_fields(event),
        )
        return None
    if reply.state is ParkState.PARKED:
        if refused or failure.dependency:
            run.budgets.waits_for[key] = failure.dependency
        else:  # an earlier deferral of the key may have been a refusal
            run.budgets.waits_for.pop(key, None)
        run.note_deferred(run.source, key, reply.since, failure.dependency)
        logger.warning(
            "Event %s is deferred with its key: %s; the first replay follows in %g s",
            *(event.id, type_name(failure.error), pause),
            extra=log_fields(event),
        )
    return reply.state


def _seen(circuits: Circuits | None, name: str) -> Seen | None:
    """Return what this instance knows of the circuit that refuses an event; None: no waking."""
    circuit = circuits.find(name) if circuits is not None and name else None
    return None if circuit is None else seen_of(name, circuit.circuit)
