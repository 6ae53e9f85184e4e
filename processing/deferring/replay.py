"""The replay of one deferred key: its events in order, up to the first one that fails."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from breaker import Permit
from processing.deferring import rounds
from processing.deferring.admission import (
    OPEN_PAUSE_SECONDS,
    PROBE_PAUSE_SECONDS,
    Need,
    Refusal,
    admits_replays,
    refusal,
)
from processing.deferring.context import ReplayContext
from processing.deferring.held_list import HeldList
from processing.deferring.list_replay import ListReplay
from processing.deferring.parts import Place, circuit_key, error_text
from processing.deferring.writes import UNAVAILABLE
from processing.dependencies.scope import Scope, enter_scope
from processing.errors import (
    BodyLostError,
    LeaseLostError,
    OutOfTimeError,
    ShutdownError,
    StorageUnavailableError,
)
from processing.event import Event
from processing.formats.event_fields import log_fields
from processing.handlers.failures.kind import Failure, FailureKind, Verdict
from processing.handlers.raised import describe, type_name
from processing.handlers.retry import RetryPolicy
from processing.parking.deferral import DeferralReason
from processing.parking.event import ParkedEvent, with_body
from processing.parking.store import Entry, EntryKind
from processing.parking.waking import Place as CircuitPlace
from processing.parking.waking import Seen
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.redrive.key_lease import KeyLease

logger = logging.getLogger(__name__)

TURN_EVENTS = 100
"""Number of events after which the next key gets its turn."""


class Replay:
    """The replay of one deferred key.

    Args:
        context: the state that the replays of the instance share.
        place: the partition and the key.
    """

    def __init__(self, context: ReplayContext, place: Place) -> None:
        self._context = context
        self._parts = parts = context.parts
        self._store = context.parking.store
        self._claims = context.parking.claims
        self._persist = context.writes.persist
        self._place = place
        self._key = circuit_key(*place)
        self._scope: Scope | None = None
        self._places: dict[str, CircuitPlace] = {}  # at the start of the present event
        self._is_recorded = False
        self._ended = False
        self._call_seconds = parts.settings.handler_timeout_seconds
        self._lease = KeyLease(self._store, *place, parts.settings.lease_seconds, context.returns)
        self._list = HeldList(context, place, self._lease)
        self._retry = RetryPolicy.from_settings(
            parts.settings, sleep=context.pause, on_failed_attempt=self._note_failed_attempt
        )

    async def run(self) -> bool:
        """Replay the key; return whether more of its events can be replayed at once.

        Raises:
            LeaseLostError: the lease expired; the event that ran is not finished.
            ShutdownError: the instance is shutting down.
            StorageUnavailableError: a store did not answer.
        """
        if not await self._lease.acquire():
            return False
        async with self._lease.held():
            if self._lease.deferral is None:  # released, or parked for an operator
                self._context.keys.released(self._place)
                return False
            self._list.deferral = deferral = self._lease.deferral
            counting = self._context.keys.circuits(deferral.since, deferral.dependency)
            for breaker in counting:
                breaker.enter(self._key)
            enter_scope(self)
            try:
                return await self._take_turn()
            finally:
                if self._is_recorded and not isinstance(sys.exception(), asyncio.CancelledError):
                    await self._end_record()
                for breaker in counting:
                    breaker.leave(self._key)
                self._ended = True
                if self._scope is not None:
                    await self._scope.close()

    def scope(self) -> Scope | None:
        """Return the dependencies of the present event; None if the app has none."""
        circuits = self._parts.dependencies
        if self._scope is None and circuits is not None and not self._ended:
            loop = asyncio.get_running_loop()
            self._scope = Scope(circuits, self._key, loop, probes=True, runs=False)
        return self._scope

    async def _take_turn(self) -> bool:
        """Replay the key's turn; after an error, the next replay follows a pause."""
        try:
            return await self._replay_turn()
        except (LeaseLostError, ShutdownError):
            raise
        except UNAVAILABLE as error:
            await self._list.try_to_postpone_after(error)
            raise
        except Exception as error:
            logger.exception(
                "The replay of %s failed; the key stays deferred, and its next replay follows a "
                "pause",
                self._list.name,
            )
            await self._list.postpone_after(error)
            return False

    async def _replay_turn(self) -> bool:
        """Replay up to `TURN_EVENTS` events; return whether all of them were finished."""
        need = await self._context.admission.need(self._list.deferral.dependency)
        if not self._context.wait_for(self._place, need):
            return await self._refuse(Refusal(PROBE_PAUSE_SECONDS))
        if need is not None and not admits_replays(need.breaker.circuit):
            return await self._refuse(refusal(need))  # before the store reads the list
        left = TURN_EVENTS
        while left > 0:
            entries = await self._store.entries(*self._place, most=left)
            if not entries:
                return False
            if not await self._replay_entries(entries, need):
                return False
            left -= len(entries)
        # Behind the other due keys. The event at the head has not failed yet.
        await self._list.postpone(0.0)
        return True

    async def _replay_entries(self, entries: Sequence[Entry], need: Need | None) -> bool:
        """Replay entries, in lists where the handler takes lists; return whether to continue."""
        lists = None
        if self._parts.handler.takes_lists:
            lists = ListReplay(self._context, self._list, self._begin_list)
        while entries:
            if lists is not None and not lists.alone:
                done = await lists.replay(entries, need)
                await self._end_scope()
                entries = entries[done:]
                if not entries:
                    return not lists.is_empty
            if not await self._replay_entry(entries[0], need):
                return False
            if lists is not None:
                lists.alone -= 1
            entries = entries[1:]
        return True

    async def _begin_list(self) -> None:
        await self._record()
        await self._check_lease()

    async def _end_scope(self) -> None:
        """End a list for the dependencies: its permits are returned, and its errors forgotten."""
        if self._scope is not None and self._scope.unsettled:
            await self._scope.end()

    async def _replay_entry(self, entry: Entry, need: Need | None) -> bool:
        """Replay one entry; return whether to replay the next one."""
        if not self._context.may_start(self._place):
            return False
        self._list.deferral = rounds.of_head(self._list.deferral, entry.position)
        if entry.kind is not EntryKind.EVENT:
            await self._list.announce_again(entry)
            return False
        try:
            parked = ParkedEvent.from_json(entry.document)
            event = (await with_body(parked, self._claims)).event
        except BodyLostError as error:
            return await self._poison_lost_body(entry, parked, error)
        except (StorageUnavailableError, ValueError) as error:
            await self._list.postpone_unread(error)
            return False
        may_start = partial(self._context.may_start, self._place)
        permits = await self._context.admission.permits(self._key, need, may_start)
        if permits is None:
            return False
        if isinstance(permits, Refusal):
            return await self._refuse(permits)
        permit = permits.app
        scope = self.scope()
        if scope is not None and need is not None and permits.own is not None:
            scope.hold(need.name, permits.own)
        self._places = self._context.admission.places()
        try:
            failure = await self._handle(event, permit)
            failing = await self._report_failure(event, permit, failure)
            if failure is None and need is not None and scope is not None and self._has_failed:
                await scope.succeeded(need.name)
        finally:
            if scope is not None and scope.unsettled:
                await scope.end()  # returns the permits that the event did not use
        if failure is not None and failing is None and failure.dependency:
            failure = replace(failure, dependency="")  # the name has no circuit
        if failure is None:
            if permit.probe_id is not None:
                await self._persist(self._parts.breaker.record_successes, 1, permit)
            return await self._list.finish(entry, event, parked.claim_check)
        own = None if failing is None else failing.breaker.circuit
        self._list.deferral = rounds.failed_again(
            self._list.deferral, failure, self._parts.breaker.circuit, own
        )
        return await self._fail(entry, event, parked.claim_check, permit, failure)

    @property
    def _has_failed(self) -> bool:
        """Return whether the first event has failed because its dependency is down."""
        deferral = self._list.deferral
        return deferral.attempts > 0 and deferral.reason is DeferralReason.DEPENDENCY

    async def _refuse(self, refused: Refusal) -> bool:
        """Postpone a key that its dependency's circuit does not admit; that is no failed replay."""
        most = self._parts.settings.defer_max_seconds
        await self._list.postpone(min(refused.seconds, most))
        return False

    async def _handle(self, event: Event, permit: Permit) -> Failure | None:
        """Handle an event: one attempt if a dependency is down, else with the usual retries.

        A key that is reported as running between its replays makes all retries. With one attempt in
        each replay, an outage with one key in flight would not reach the standstill rule's ten.
        """
        try:
            await self._record()
            await self._check_lease()
            return await self._retry.run(
                self._parts.handle,
                replace(event),  # a handler may replace the parts of its event
                gives_up=self._gives_up,
                before_retry=self._check_lease,
            )
        except (LeaseLostError, ShutdownError, *UNAVAILABLE):
            await self._parts.breaker.release(permit)
            raise

    async def _record(self) -> None:
        """Record, once in a turn, that this process replays the key."""
        if self._parts.crashes is not None and not self._is_recorded:
            self._is_recorded = True
            await self._parts.crashes.replay_begins(*self._place)

    async def _end_record(self) -> None:
        if self._parts.crashes is not None:
            moved = self._list.finished > 0
            await self._parts.crashes.replay_ended(*self._place, moved=moved)

    def _gives_up(self, verdict: Verdict) -> bool:
        return verdict.kind.keeps and not self._context.keys.reports(self._place)

    async def _check_lease(self) -> None:
        """Check that an attempt may start: in time, and under the lease."""
        if self._context.out_of_time():
            raise OutOfTimeError("the invocation's time is used up; the event stays deferred")
        self._lease.check(self._call_seconds)

    def _note_failed_attempt(self, _event: Event, verdict: Verdict, error: Exception) -> None:
        if not verdict.kind.counts:
            return
        for breaker in self._context.keys.circuits(self._list.deferral.since, verdict.dependency):
            breaker.note_failed_attempt(self._key, error_text(error))

    async def _report_failure(
        self, event: Event, permit: Permit, failure: Failure | None
    ) -> Need | None:
        """Report a failure as a probe; any other failed replay counts for no rule.

        A failure that names a dependency is a failed probe of that dependency only.

        Returns:
            The dependency whose circuit counts the failure; None: the app's circuit does.
        """
        if failure is None:
            return None
        failing = await self._context.admission.need(failure.dependency)
        scope = self.scope()
        probes = [(self._parts.breaker, permit)]
        if failing is not None and scope is not None:
            own = failing.breaker
            probes.append((own, scope.take_permit(failing.name, own)))
        counting = probes[-1][0]
        for breaker, each in probes:
            if each.probe_id is None:
                continue
            if failure.kind.counts and breaker is counting:
                error = error_text(failure.error)
                await self._persist(breaker.record_failure, event.id, error, each)
            else:
                await self._persist(breaker.release, each)
        return failing

    async def _fail(
        self,
        entry: Entry,
        event: Event,
        check: ClaimCheck | None,
        permit: Permit,
        failure: Failure,
    ) -> bool:
        """Postpone the key or poison the event; return whether to replay the next one."""
        settings = self._parts.settings
        attempts, first = self._list.deferral.attempts, self._list.deferral.first_attempt
        failure = replace(failure, attempts=attempts, first_attempt=first)
        why = "its attempts ended"
        if failure.kind.keeps:
            why = rounds.why_poisoned(self._list.deferral, failure.kind, settings)
        if why:
            message = self._message(event, failure, permit.generation)
            left = await self._list.poison(entry, event, message, check, why=why)
            if self._parts.crashes is not None:
                await self._parts.crashes.poisoned(event, failure.error)
            return left
        pause = rounds.pause_seconds(self._list.deferral, failure, settings)
        seen, place = None, self._places.get(failure.dependency)
        if failure.kind is FailureKind.REFUSED and failure.dependency:
            pause = min(pause, OPEN_PAUSE_SECONDS)  # no failed attempt; see `_refuse`
        elif place is not None and not failure.retry_after:  # else the dependency asks for it
            seen = Seen(failure.dependency, place)
        await self._list.postpone(pause, seen)
        # Only the error's type is logged: the error's text may quote the event.
        faulty = failure.kind is FailureKind.FAULTY
        logger.warning(
            "Event %s failed in a replay (attempts: %s): %s; its key waits, and the next replay is "
            "due in %g s",
            event.id,
            attempts,
            (faulty and describe(failure.error)) or type_name(failure.error),
            pause,
            extra=log_fields(event),
        )
        return False

    async def _poison_lost_body(
        self, entry: Entry, parked: ParkedEvent, error: BodyLostError
    ) -> bool:
        """Poison an event whose body is lost, on record; an operator can restore its blob."""
        event = parked.event
        failed = rounds.lost(self._list.deferral, error)
        message = self._message(event, failed, self._parts.breaker.circuit.generation)
        if parked.claim_check is not None:
            message = message.with_claim_check(parked.claim_check)
        return await self._list.poison(entry, event, message, None, why="its body is lost")

    def _message(self, event: Event, failure: Failure, generation: int) -> PoisonMessage:
        return PoisonMessage.from_failure(
            event,
            failure,
            handler=self._parts.handler.name,
            circuit_generation=generation,
            instance=self._parts.instance,
        )
