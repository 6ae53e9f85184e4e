"""A lane, which handles the events of one key in a batch strictly one after another."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from breaker import BreakerError, CircuitState, Permit
from processing.batch.circuit_key import circuit_key
from processing.batch.parts import error_text
from processing.batch.run import BatchRun
from processing.errors import DependencyUnavailableError, ProcessingError, ShutdownError
from processing.event import Event
from processing.handlers.raised import describe, type_name
from processing.handlers.retry import Failure, FailureKind
from processing.monitoring.telemetry import log_fields
from processing.parking.event import Position, is_reached, position_of
from processing.parking.store import ParkState
from processing.poison.message import PoisonMessage
from processing.progress.group_commit import BatchProgress

logger = logging.getLogger(__name__)

BATCH_ERRORS = (ProcessingError, BreakerError, MemoryError)
"""Errors that our own code raises for the whole batch; the batch holds or runs again.

The errors that a handler raises never get here: `RetryPolicy.run` returns them as failures.
"""

LEAST_PAUSE_SECONDS = 0.1
"""Least pause after a failure without fast retries, also if the setting is 0."""


class Lane:
    """The events of one key in one batch, in order.

    Attributes:
        handled, poisoned, parked: number of events with this outcome.
        skipped: number of events that a redrive had already replayed.
    """

    def __init__(self, run: BatchRun, events: Sequence[Event], progress: BatchProgress) -> None:
        self._run = run
        self._parts = run.parts
        self._events = events
        self._progress = progress
        self._key = key = events[0].key
        self._circuit_key = circuit_key(events[0])
        ordered = key is not None or self._parts.settings.keyless_order == "partition"
        self._parking = run.parking if ordered else None
        self.handled = 0
        self.poisoned = 0
        self.parked = 0
        self.skipped = 0

    async def run(self) -> None:
        """Handle, poison, park or skip every event; raise at the first event that cannot finish."""
        breaker, events = self._parts.breaker, self._events
        breaker.enter(self._circuit_key)
        try:
            while events:
                events = await self._handle(await self._park(events))
        finally:
            breaker.leave(self._circuit_key)

    async def _handle(self, events: Sequence[Event]) -> Sequence[Event]:
        """Handle events, and return the events behind one that parked the key."""
        gate, hold, finish = self._parts.gate, self._run.hold, self._progress.finish
        handle, retry = self._parts.handle, self._parts.retry
        finished = self._parts.telemetry.event_finished
        for number, event in enumerate(events, 1):
            permit = gate.try_admit(hold) or await gate.admit(hold, self._circuit_key)
            try:
                failure = await retry.run(handle, event)
            except ShutdownError:
                await gate.release(permit)
                raise
            if failure is None and permit.probe_id is None:
                self.handled += 1
                await finish(event)
                finished(event)
                continue
            await self._finish_outcome(event, permit, failure)
            await finish(event)
            finished(event)
            if self._parking is not None and self._parking.is_parked(self._key):
                return events[number:]
        return ()

    async def _park(self, events: Sequence[Event]) -> Sequence[Event]:
        """Park events while their key is parked, and return the events to handle."""
        if self._parking is None:
            return events
        events = await self._skip_replayed(events, self._parking.replayed(self._key))
        while events and self._parking.is_parked(self._key):
            await self._admit_parking()
            reply = await self._parking.park(events)
            stored, events = events[: len(reply.states)], events[len(reply.states) :]
            states = Counter(reply.states)
            self.parked += states.pop(ParkState.PARKED, 0)
            self.skipped += states.pop(ParkState.REPLAYED, 0)
            self.poisoned += states.total()
            await self._finish_all(stored)
            if reply.released:
                events = await self._skip_replayed(events, reply.replayed)
        return events

    async def _skip_replayed(self, events: Sequence[Event], replayed: Position) -> Sequence[Event]:
        """Finish the events that a redrive has already replayed, and return the others."""
        if not replayed:
            return events
        skipped = [event for event in events if is_reached(position_of(event), replayed)]
        self.skipped += len(skipped)
        await self._finish_all(skipped)
        return [event for event in events if not is_reached(position_of(event), replayed)]

    async def _finish_all(self, events: Sequence[Event]) -> None:
        await asyncio.gather(*map(self._progress.finish, events))  # they share a commit

    async def _admit_parking(self) -> None:
        """Wait for the circuit before parking, so that an open circuit holds the checkpoint."""
        gate, hold = self._parts.gate, self._run.hold
        permit = gate.try_admit(hold) or await gate.admit(hold, self._circuit_key)
        if permit.probe_id is not None:
            await self._run.persist(self._parts.breaker.release, permit)

    async def _finish_outcome(self, event: Event, permit: Permit, failure: Failure | None) -> None:
        """Retry a kept event, report the outcome to the circuit, and poison a failed event.

        A success without a probe permit never comes here.
        """
        if event.key is not self._key:  # the handler may have replaced the key of its event
            event = replace(event, key=self._key)
        while failure is not None and failure.kind.keeps:
            failure, permit = await self._keep_and_retry(event, permit, failure)
        breaker = self._parts.breaker
        if failure is None:
            if permit.probe_id is not None:
                await self._run.persist(breaker.record_successes, 1, permit)
            self.handled += 1
            return
        await self._report_failure(event, permit, failure)
        await self._poison(event, permit, failure)
        self.poisoned += 1

    async def _keep_and_retry(
        self, event: Event, permit: Permit, failure: Failure
    ) -> tuple[Failure | None, Permit]:
        """Record the failure of a dependency, wait, and handle the same event again.

        Later events of the key wait until the event ends. The circuit opens after enough failures.
        """
        # Only the error's type is logged: the error's text may quote the event.
        faulty = failure.kind is FailureKind.FAULTY
        logger.warning(
            "Event %s failed (attempts: %s): %s; it keeps its place, and its key waits",
            event.id,
            failure.attempts,
            describe(failure.error) if faulty else type_name(failure.error),
            extra=log_fields(event),
        )
        if failure.kind.counts:
            await self._record_failure(event, permit, failure)
        elif permit.probe_id is not None:
            await self._run.persist(self._parts.breaker.release, permit)
        gate, hold = self._parts.gate, self._run.hold
        # While the circuit is open, the gate waits. Otherwise the dependency gets a pause, also
        # after a failed probe: the first two leave the circuit half-open.
        if self._parts.breaker.circuit.state in (CircuitState.CLOSED, CircuitState.HALF_OPEN):
            if hold.keep_timed_out():
                raise DependencyUnavailableError(
                    f"event {event.id} was kept for "
                    f"{hold.seconds:g} s; the batch fails, and the event is redelivered with it"
                ) from failure.error
            # A pause beyond the invocation's time would outlast the host's function timeout.
            least = 0 if failure.kind.retries else LEAST_PAUSE_SECONDS
            setting = self._parts.settings.dependency_pause_seconds
            pause = max(least, setting, failure.retry_after or 0)
            await gate.pause(max(0, min(pause, hold.keep_remaining())), hold)
        permit = gate.try_admit(hold) or await gate.admit(hold, self._circuit_key)
        try:
            return await self._parts.retry.run(self._parts.handle, event), permit
        except ShutdownError:
            await gate.release(permit)
            raise

    async def _report_failure(self, event: Event, permit: Permit, failure: Failure) -> None:
        if failure.kind is FailureKind.EXHAUSTED:
            await self._record_failure(event, permit, failure)
        elif permit.probe_id is not None:  # a poison event does not show the dependency's state
            await self._run.persist(self._parts.breaker.release, permit)
        elif self._parts.count_poison:
            await self._record_failure(event, permit, failure)

    async def _record_failure(self, event: Event, permit: Permit, failure: Failure) -> None:
        record, error = self._parts.breaker.record_failure, error_text(failure.error)
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
        logger.warning(
            "Event %s went to the poison queue (attempts: %s): %s",
            *(event.id, failure.attempts, message.error.type),
            extra=log_fields(event),
        )

    async def _store(self, message: PoisonMessage) -> None:
        if self._parking is not None:
            await self._parking.poison(message)
        else:
            await self._run.persist(self._parts.poison.put, message)
