"""The outcomes of events that did not simply succeed: reported to the circuit, and poisoned."""

from __future__ import annotations

import logging

from breaker import BreakerError, CircuitBreaker, Permit
from processing.batch.run import BatchRun
from processing.deferring.parts import error_text
from processing.errors import ProcessingError
from processing.event import Event
from processing.formats.event_fields import log_fields
from processing.handlers.failure_line import failure_line
from processing.handlers.retry import Failure, FailureKind
from processing.poison.message import PoisonMessage

logger = logging.getLogger(__name__)

BATCH_ERRORS = (ProcessingError, BreakerError, MemoryError)
"""Errors that our own code raises for the whole batch; the batch holds or runs again.

The errors that a handler raises never get here: `RetryPolicy.run` returns them as failures.
"""


class Outcome:
    """The outcomes of the events of one lane, beside plain successes.

    Args:
        run: the invocation.
        ordered: whether the lane's events are parked behind a poisoned event, if the settings ask
            for that.
    """

    def __init__(self, run: BatchRun, *, ordered: bool) -> None:
        self._run = run
        self._parts = run.parts
        self._parks = ordered and run.parts.settings.poison_ordering == "park"

    async def succeeded(self, permit: Permit) -> None:
        """Report a success if the event was a probe."""
        if permit.probe_id is not None:
            await self._run.persist(self._parts.breaker.record_successes, 1, permit)

    async def failed(self, event: Event, permit: Permit, failure: Failure) -> None:
        """Report a failed event to the circuit, and poison the event."""
        if failure.kind is FailureKind.EXHAUSTED:
            await self.record_failure(event, permit, failure)
        elif permit.probe_id is not None:  # a poison event does not show the dependency's state
            await self.release(permit)
        elif self._parts.count_poison:
            await self.record_failure(event, permit, failure)
        await self._poison(event, permit, failure)

    async def release(self, permit: Permit) -> None:
        """Give a probe's permit back without an outcome."""
        if permit.probe_id is not None:
            await self._run.persist(self._parts.breaker.release, permit)

    async def record_failure(
        self,
        event: Event,
        permit: Permit,
        failure: Failure,
        circuit: CircuitBreaker | None = None,
    ) -> None:
        """Count a failure in the circuit of its dependency, or else in the app's."""
        record = (circuit or self._parts.breaker).record_failure
        error = error_text(failure.error)
        try:
            await self._run.persist(record, event.id, error, permit)
        except BATCH_ERRORS:
            raise
        except Exception:
            logger.exception(
                "Event %s: its failure is not counted in the circuit",
                event.id,
                extra=log_fields(event),
            )

    async def _poison(self, event: Event, permit: Permit, failure: Failure) -> None:
        """Poison a failed event: whole, or with what can be stored.

        Only an error of a store or of the batch is raised. Any other error concerns this event
        alone. Such an error must not end the batch, which would run again and fail again forever.
        """
        message = PoisonMessage.from_failure(
            event,
            failure,
            handler=self._parts.handler.name,
            circuit_generation=permit.generation,
            instance=self._parts.instance,
        )
        try:
            await self._store(message)
        except BATCH_ERRORS:
            raise
        except Exception as error:
            logger.exception(
                "Event %s cannot be stored whole; its body, key and place are stored",
                event.id,
                extra=log_fields(event),
            )
            await self._store(message.essence(error))
        if self._parts.crashes is not None:
            await self._parts.crashes.poisoned(event, failure.error)
        logger.warning(
            "Event %s went to the poison queue (attempts: %s): %s",
            *(event.id, failure.attempts, failure_line(event, failure.error)),
            extra=log_fields(event),
        )

    async def _store(self, message: PoisonMessage) -> None:
        if self._parks and self._run.parking is not None:
            await self._run.parking.poison(message)
        else:
            await self._run.persist(self._parts.poison.put, message)
