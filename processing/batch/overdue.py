"""Overdue events: those whose call had not ended when an earlier invocation ended.

Such an event may end its process each time that it runs, because the platform ends an invocation
that exceeds functionTimeout together with its process. So the event is deferred without a call.
"""

from __future__ import annotations

import logging
import time

from breaker import CircuitState
from processing.batch.defer import defer
from processing.batch.run import BatchRun
from processing.errors import OverdueEventError, PoisonEventError
from processing.event import Event
from processing.formats.event_fields import log_fields
from processing.handlers.retry import Failure, FailureKind
from processing.monitoring.reasons import Why
from processing.parking.event import ListKey
from processing.parking.store import ParkState

logger = logging.getLogger(__name__)


async def settle_overdue(
    run: BatchRun, event: Event, key: ListKey, *, defers: bool
) -> Failure | ParkState:
    """Defer an overdue event with its key, or hold its partition.

    Args:
        run: the invocation.
        event: the event.
        key: the name of the event's list.
        defers: whether the key may be deferred.

    Returns:
        The state of the deferred event, or the failure of an event that an operator poisons.

    Raises:
        OverdueEventError: the event cannot be deferred; the partition was held for
            `hold_seconds`, and the batch runs again.
        CircuitOpenError, ShutdownError, OutOfTimeError: see `Gate.wait_while_open`.
    """
    parts, now = run.parts, time.time()
    error = OverdueEventError(
        f"the call of event {event.id} had not ended when its invocation had used up its time "
        f"({parts.budget.timeout.where}: {parts.budget.timeout.seconds:g} s)"
    )
    parts.watch.waits(event.source, event, Why.OVERDUE, error)
    if run.parking is not None and run.parking.claim.poison_head == event.id:
        poison = PoisonEventError(f"an operator poisoned this event; {error}")
        return Failure(FailureKind.POISON, poison, 1, now, now)
    await parts.gate.wait_while_open(run.hold)  # an open circuit holds the checkpoint
    failure = Failure(FailureKind.OVERDUE, error, 1, now, now)
    if defers and parts.breaker.circuit.state in (CircuitState.CLOSED, CircuitState.HALF_OPEN):
        state = await defer(run, event, key, failure, refused=False)
        if state is not None:
            return state
    logger.error(
        "Event %s is overdue and cannot be deferred; its partition holds: %s",
        *(event.id, error),
        extra=log_fields(event),
    )
    parts.watch.waits(event.source, event, Why.OVERDUE, error)
    await run.pause(run.hold.seconds)
    raise error
