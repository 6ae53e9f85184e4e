"""One lane: its events strictly one after another, each to its end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from breaker import Permit
from processing.event import Event
from processing.poison import PoisonMessage
from processing.progress import BatchProgress
from processing.retry import Failure, FailureKind

if TYPE_CHECKING:
    from processing.processor import BatchRun

logger = logging.getLogger(__name__)


class Lane:
    """The events of one key in one batch, in order.

    Attributes:
        handled, poisoned: events that ended so, up to now.
    """

    def __init__(self, run: BatchRun, events: Sequence[Event], progress: BatchProgress) -> None:
        self._run = run
        self._processor = run.processor
        self._events = events
        self._progress = progress
        self.handled = 0
        self.poisoned = 0

    async def run(self) -> None:
        """Bring every event to its end, or raise before the first that can't be."""
        gate, hold, finish = self._processor.gate, self._run.hold, self._progress.finish
        handle, retry = self._processor.handler.handle, self._processor.retry
        for event in self._events:
            permit = gate.try_admit(hold) or await gate.admit(hold)
            failure = await retry.run(handle, event)
            if failure is None and permit.probe_id is None:
                self.handled += 1
            else:
                await self._settle(event, permit, failure)
            await finish(event)

    async def _settle(self, event: Event, permit: Permit, failure: Failure | None) -> None:
        """Everything but the plain success: probes, poison, exhaustion, kept events."""
        round_ = 0
        while failure is not None and failure.kind is FailureKind.DEPENDENCY:
            failure, permit = await self._keep(event, permit, failure, round_)
            round_ += 1
        breaker = self._processor.breaker
        if failure is None:
            if permit.probe_id is not None:
                await self._run.persist(lambda: breaker.record_successes(1, permit))
            self.handled += 1
            return
        await self._count(event, permit, failure, round_)
        await self._poison(event, permit, failure)
        self.poisoned += 1

    async def _keep(
        self, event: Event, permit: Permit, failure: Failure, round_: int
    ) -> tuple[Failure | None, Permit]:
        """Not the event's fault: count the failure, wait, and try the same event again. Nothing
        behind it on its key runs meanwhile, and the circuit decides when to stop altogether.
        """
        logger.warning(
            "Event %s/%s is kept after %s attempts: %s",
            *(self._run.source, event.sequence_number, failure.attempts, failure.error),
        )
        await self._record(event, permit, failure, round_)
        gate, hold = self._processor.gate, self._run.hold
        retry_after = getattr(failure.error, "retry_after", None)
        if gate.try_admit(hold):
            pause = retry_after or self._processor.settings.dependency_pause_seconds
            await gate.pause(pause, hold)
        permit = gate.try_admit(hold) or await gate.admit(hold)
        return await self._processor.retry.run(self._processor.handler.handle, event), permit

    async def _count(self, event: Event, permit: Permit, failure: Failure, round_: int) -> None:
        if failure.kind is FailureKind.EXHAUSTED:
            await self._record(event, permit, failure, round_)
        elif permit.probe_id is not None:  # poison says nothing about the dependency
            await self._run.persist(lambda: self._processor.breaker.release(permit))
        elif self._processor.count_poison:
            await self._record(event, permit, failure, round_)

    async def _record(self, event: Event, permit: Permit, failure: Failure, round_: int) -> None:
        failure_id = (
            f"{self._run.source}/{event.sequence_number}/{event.enqueued_ms}"
            f"#{self._run.nonce}.{round_}"
        )
        error = f"{type(failure.error).__name__}: {failure.error}"
        await self._run.persist(
            lambda: self._processor.breaker.record_failure(failure_id, error, permit)
        )

    async def _poison(self, event: Event, permit: Permit, failure: Failure) -> None:
        message = PoisonMessage.from_failure(
            event,
            failure,
            source=self._run.source,
            handler=self._processor.handler.name,
            circuit_generation=permit.generation,
            instance=self._processor.instance,
        )
        await self._run.persist(lambda: self._processor.poison.put(message))
        logger.warning(
            "Event %s/%s went to the poison queue after %s attempts: %s",
            *(self._run.source, event.sequence_number, failure.attempts, message.error.type),
        )
