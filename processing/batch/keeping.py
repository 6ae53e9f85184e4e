"""Kept events: an event whose dependency is down waits in place, and then its key is deferred."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from breaker import CircuitState, Key, Permit
from processing.batch.defer import defer
from processing.batch.dependency import FailedDependency, failed_dependency
from processing.batch.outcome import Outcome
from processing.batch.run import BatchRun
from processing.dependencies.scope import Scope
from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event
from processing.formats.event_fields import log_fields
from processing.handlers.raised import describe, type_name
from processing.handlers.retry import Failure, FailureKind, Verdict
from processing.monitoring.reasons import Why
from processing.parking.event import ListKey
from processing.parking.store import ParkState

logger = logging.getLogger(__name__)

LEAST_PAUSE_SECONDS = 0.1
"""Least pause after a failure without fast retries, also if the setting is 0."""


class Keeping:
    """The waiting of one lane's kept events.

    Args:
        run: the invocation.
        circuit_key: the key by which the circuit knows the lane's events.
        outcome: reports outcomes to the circuit.
        scope: the dependencies of the lane's events; None if the app has none.
        defers: whether the lane's key may be deferred.
    """

    def __init__(
        self,
        run: BatchRun,
        circuit_key: Key,
        outcome: Outcome,
        scope: Scope | None,
        *,
        defers: bool,
    ) -> None:
        self._run = run
        self._parts = run.parts
        self._circuit_key = circuit_key
        self._outcome = outcome
        self._scope = scope
        self._defers = defers and run.parts.settings.deferred_events_max > 0
        self._now = asyncio.get_running_loop().time
        self._started: float | None = None
        self._began = 0.0
        self._failing_since: float | None = None
        self._first_attempt = 0.0
        self._attempts = 0
        self._probes = False

    def begin(self, started: float, permit: Permit) -> None:
        """Take over an event after its first failed attempt; repeated calls change nothing.

        Args:
            started: the loop's time at the event's start, the same object in each call for an
                event.
            permit: the permit of the first attempt.
        """
        if started is self._started:  # two events can start at equal times
            return
        self._started = self._began = started
        self._failing_since = None
        self._first_attempt = 0.0
        self._attempts = 0
        self._probes = permit.probe_id is not None

    def gives_up(self, verdict: Verdict) -> bool:
        """Return whether an event's attempts end after a failed one, because its key is deferred.

        A probe makes all its attempts.
        """
        if not (self._defers and verdict.kind.keeps) or self._probes:
            return False
        if self._scope is not None and self._scope.is_probe:
            return False
        if self._scope is not None and self._scope.is_away(verdict.dependency):
            return True
        return self._left() <= 0

    async def keep(
        self, event: Event, key: ListKey, permit: Permit, failure: Failure
    ) -> tuple[Failure | ParkState | None, Permit]:
        """Report the failure; then defer the event's key, or wait and handle the event again.

        Returns:
            The state of the deferred event, or the failure of the next attempts, or None if the
            event succeeded; and the permit of the last attempts.
        """
        self._attempts += failure.attempts
        self._first_attempt = self._first_attempt or failure.first_attempt
        self._log(event, failure)
        self._parts.watch.waits(event.source, event, self._why(event, failure), failure.error)
        if self._is_poisoned_by_operator(event):
            await self._outcome.release(permit)
            return _poisoned(failure), Permit(permit.generation)
        needed, failure = await failed_dependency(
            self._run, self._scope, self._circuit_key, failure
        )
        probed = await self._report(event, permit, failure, needed)
        pause = self._pause_seconds(failure)
        known = self._parts.breaker.circuit
        admitted = None
        while admitted is None:
            was_alone, was_refused = self._is_alone, _is_refused(failure, needed)
            if self._must_defer(failure, pause, needed, probed=probed):
                state = await self._defer(event, key, failure, needed)
                if state is not None:
                    return state, permit
            permit, probed = Permit(permit.generation), False
            held = needed is not None and not needed.admits
            if held:
                self._parts.watch.waits(event.source, event, Why.DEPENDENCY, failure.error)
            await self._wait(event, failure, pause, needed)
            # During the pause the other lanes have ended, or the dependency's circuit has opened.
            alone = not was_alone and self._is_alone
            turned = alone or (not was_refused and _is_refused(failure, needed))
            if turned and self._must_defer(failure, pause, needed, probed=False):
                state = await self._defer(event, key, failure, needed)
                if state is not None:
                    return state, permit
            admitted = await self._admit(needed)
            if held:  # the circuit does not explain what the next attempt does
                self._parts.watch.settled(event.source, event)
        if not known.admits or self._parts.breaker.circuit.generation != known.generation:
            # Time in which the circuit was open does not count.
            self._began, self._failing_since = self._now(), None
        try:
            self._probes = admitted.probe_id is not None
            run, check, wait = self._parts.retry.run, self._run.check_claim, self._run.pause
            failed = await run(self._parts.handle, event, self.gives_up, check, wait)
        except BaseException:
            await self._parts.gate.release(admitted)
            raise
        if failed is None and needed is not None and failure.kind.counts:
            await needed.succeeded()
        return failed, admitted

    async def _report(
        self, event: Event, permit: Permit, failure: Failure, needed: FailedDependency | None
    ) -> bool:
        """Report a failure to its circuit; return whether the event was a probe of a circuit.

        A failure of a dependency says nothing about the app: a probe of the app's circuit gives its
        permit back.
        """
        probed = permit.probe_id is not None
        if needed is None and failure.kind.counts:
            await self._outcome.record_failure(event, permit, failure)
        else:
            await self._outcome.release(permit)
        if needed is not None and failure.kind.counts:
            own = needed.take_permit()
            probed = probed or own.probe_id is not None
            await self._outcome.record_failure(event, own, failure, needed.circuit)
        if self._scope is not None and self._scope.unsettled:
            await self._scope.end()
        return probed

    def _must_defer(
        self, failure: Failure, pause: float, needed: FailedDependency | None, *, probed: bool
    ) -> bool:
        state = self._parts.breaker.circuit.state
        if not self._defers or state not in (CircuitState.CLOSED, CircuitState.HALF_OPEN):
            return False
        if probed and failure.kind is not FailureKind.REFUSED:
            return True
        if _is_refused(failure, needed):
            return self._run.budgets.refused.admits()
        # A pause that outlasts the budget would end with one more attempt, too late.
        return self._left() <= pause

    def _left(self) -> float:
        """Return the seconds for which the event may still wait in place."""
        if self._failing_since is None:
            self._failing_since = self._began
        left = self._run.budgets.in_place.left(self._failing_since)
        return 0.0 if self._is_alone else left

    @property
    def _is_alone(self) -> bool:
        """Return whether only this event keeps the batch from ending."""
        return self._run.one_lane_left.is_set()

    async def _defer(
        self, event: Event, key: ListKey, failure: Failure, needed: FailedDependency | None
    ) -> ParkState | None:
        """Defer the event's key; None if there is no room, so that the event waits in place."""
        failure = replace(failure, attempts=self._attempts, first_attempt=self._first_attempt)
        return await defer(self._run, event, key, failure, refused=_is_refused(failure, needed))

    async def _wait(
        self, event: Event, failure: Failure, pause: float, needed: FailedDependency | None
    ) -> None:
        """Pause while the circuit admits events; while the circuit is open, the gate waits."""
        gate, hold = self._parts.gate, self._run.hold
        # The first two failed probes leave the circuit half-open; they need a pause, too.
        if self._parts.breaker.circuit.state not in (CircuitState.CLOSED, CircuitState.HALF_OPEN):
            return
        if hold.keep_timed_out():
            raise DependencyUnavailableError(
                f"event {event.id} was kept for "
                f"{hold.seconds:g} s; the batch fails, and the event is redelivered with it"
            ) from failure.error
        refused = failure.kind is FailureKind.REFUSED
        if needed is not None and (refused or not (needed.admits or needed.is_half_open)):
            await needed.wait_until_it_gives_permits()
            return
        # A pause beyond the invocation's time would outlast the host's function timeout.
        seconds = max(0, min(pause, hold.keep_remaining()))
        ends = self._run.one_lane_left if self._defers and not self._is_alone else None
        await gate.pause(seconds, hold, ends)

    async def _admit(self, needed: FailedDependency | None) -> Permit | None:
        """Return a permit of the app's circuit; None if the dependency's circuit gives none."""
        gate, hold = self._parts.gate, self._run.hold
        permit = gate.try_admit(hold)
        if permit is None:
            permit = await gate.admit(hold, self._circuit_key)
        try:
            await self._run.check_claim()
            if needed is None or await needed.acquire():
                return permit
        except BaseException:
            await gate.release(permit)
            raise
        await gate.release(permit)
        return None

    def _pause_seconds(self, failure: Failure) -> float:
        least = 0 if failure.kind.retries else LEAST_PAUSE_SECONDS
        setting = self._parts.settings.dependency_pause_seconds
        return max(least, setting, failure.retry_after or 0)

    def _is_poisoned_by_operator(self, event: Event) -> bool:
        parking = self._run.parking
        return parking is not None and parking.claim.poison_head == event.id

    def _why(self, event: Event, failure: Failure) -> Why:
        if failure.kind is FailureKind.FAULTY:
            return Why.FAULTY
        if failure.kind is FailureKind.REFUSED:
            return Why.DEPENDENCY if failure.dependency else Why.CIRCUIT
        return Why.KEPT if event.key is not None or self._defers else Why.KEYLESS

    def _log(self, event: Event, failure: Failure) -> None:
        # Only the error's type is logged: the error's text may quote the event.
        faulty = failure.kind is FailureKind.FAULTY
        logger.warning(
            "Event %s failed (attempts: %s): %s; its key waits",
            event.id,
            failure.attempts,
            (describe(failure.error) if faulty else "") or type_name(failure.error),
            extra=log_fields(event),
        )


def _is_refused(failure: Failure, needed: FailedDependency | None) -> bool:
    """Return whether a circuit refuses the event, or would refuse its next attempt."""
    return failure.kind is FailureKind.REFUSED or (needed is not None and not needed.admits)


def _poisoned(failure: Failure) -> Failure:
    """Return the failure of an event that an operator poisons while it is kept."""
    error = PoisonEventError(
        "an operator poisoned this event with `parked poison-head`; its last error was "
        f"{type_name(failure.error)}: {describe(failure.error)}"
    )
    return Failure(
        FailureKind.POISON, error, failure.attempts, failure.first_attempt, failure.last_attempt
    )
