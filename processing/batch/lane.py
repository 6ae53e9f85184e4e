"""A lane, which handles the events of one key in a batch strictly one after another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import takewhile

from breaker import Permit
from processing.batch.joining import Joining
from processing.batch.keeping import Keeping
from processing.batch.outcome import Outcome
from processing.batch.overdue import settle_overdue
from processing.batch.run import BatchRun
from processing.deferring.parts import circuit_key
from processing.dependencies.scope import Scope, enter_scope
from processing.errors import OutOfTimeError
from processing.event import Event
from processing.handlers.retry import Failure, Verdict
from processing.monitoring.telemetry import Handle
from processing.parking.event import ListKey, Lone, Replayed, is_reached, position_of
from processing.parking.store import ParkState
from processing.progress.group_commit import BatchProgress

_NO_PERMIT = Permit(generation=-1)


class Lane:
    """The events of one key in one batch, in order.

    Attributes:
        handled, poisoned, deferred, parked: number of events with this outcome.
        skipped: number of events that a replay had already handled.
    """

    _ended = False

    def __init__(self, run: BatchRun, events: Sequence[Event], progress: BatchProgress) -> None:
        self._run = run
        self._parts = run.parts
        self._events = events
        self._progress = progress
        first = events[0]
        self._key = first.key
        keeps_order = self._parts.settings.keyless_order == "partition"
        self._list: ListKey = first.key
        if first.key is None and not keeps_order:
            self._list = Lone(position_of(first))
        ordered = first.key is not None or keeps_order
        self._parking = run.parking
        self._circuit_key = circuit_key(first.source, first.key)
        self._ordered = ordered
        # All later events without a key would have to wait behind the deferred one.
        self._defers = first.key is not None or not keeps_order
        # The start of the present event: the loop's time, and the permit of the first attempt.
        self._began = 0.0
        self._permit = _NO_PERMIT
        self._scope: Scope | None = None
        self.handled = 0
        self.poisoned = 0
        self.deferred = 0
        self.parked = 0
        self.skipped = 0

    async def run(self) -> None:
        """Finish every event, or raise at the first event that cannot be finished."""
        breaker, events, overdue = self._parts.breaker, self._events, self._run.overdue
        breaker.enter(self._circuit_key)
        enter_scope(self)
        try:
            while events:
                events = await self._park(events)
                if overdue and events and position_of(events[0]) in overdue:
                    events = await self._settle_overdue(events)
                elif overdue:
                    before = [*takewhile(lambda each: position_of(each) not in overdue, events)]
                    behind = events[len(before) :]
                    events = [*await self._handle(before), *behind]
                else:
                    events = await self._handle(events)
        finally:
            breaker.leave(self._circuit_key)
            self._run.end_lane()
            self._ended = True
            # A task that the handler has left behind may keep the lane, but not its batch.
            del self._events, self._progress
            if self._scope is not None:
                await self._scope.close()

    def scope(self) -> Scope | None:
        """Return the dependencies of the present event; None if the app has no dependencies."""
        circuits = self._parts.dependencies
        if self._scope is None and circuits is not None and not self._ended:
            self._scope = Scope(
                circuits,
                self._circuit_key,
                self._run.loop,
                probes=not (self._defers and self._parts.settings.deferred_events_max > 0),
                successes=self._run.dependency_successes,
            )
        return self._scope

    async def _handle(self, events: Sequence[Event]) -> Sequence[Event]:
        """Handle events, and return the events behind one that parked or deferred the key."""
        # A batch has many lanes at the same time. So each object that lives as long as its lane,
        # also a bound method, brings the next garbage collection nearer.
        gate, hold, now = self._parts.gate, self._run.hold, self._run.now
        handle, retry = self._first_call(), self._parts.retry
        gives_up, check_claim, pause = self._gives_up, self._run.check_claim, self._run.pause
        progress, telemetry = self._progress, self._parts.telemetry
        remaining = iter(events)
        for event in remaining:
            permit = self._permit = gate.try_admit(hold) or await self._admit()
            self._began = now()
            try:
                failure = await retry.run(handle, event, gives_up, check_claim, pause)
            except BaseException as error:
                await gate.release(permit)
                if isinstance(error, OutOfTimeError):
                    await self._run.mark_overdue(event)
                raise
            if failure is None and self._scope is not None and self._scope.unsettled:
                await self._scope.end()
            if failure is None and permit.probe_id is None:
                self.handled += 1
                await progress.finish(event)
                telemetry.event_finished(event)
                continue
            if not await self._finish_outcome(event, permit, failure):
                return [event, *remaining]
            if self._scope is not None and self._scope.unsettled:
                await self._scope.end()
            await progress.finish(event)
            telemetry.event_finished(event)
            if self._is_parked():
                return list(remaining)
        return ()

    def _first_call(self) -> Handle:
        """Return the handler of the next events."""
        return self._parts.handle

    @cached_property
    def _outcome(self) -> Outcome:
        """The outcomes of events that do not simply succeed."""
        return Outcome(self._run, ordered=self._ordered)

    @cached_property
    def _keeping(self) -> Keeping:
        """The waiting of kept events; most lanes have none."""
        outcome, scope = self._outcome, self.scope()
        return Keeping(self._run, self._circuit_key, outcome, scope, defers=self._defers)

    def _gives_up(self, verdict: Verdict) -> bool:
        """Return whether the attempts of the present event end, because its key is deferred."""
        self._keeping.begin(self._began, self._permit)
        return self._keeping.gives_up(verdict)

    def _is_parked(self) -> bool:
        return self._parking is not None and self._parking.is_parked(self._list)

    async def _admit(self) -> Permit:
        """Wait at the gate, and check the claim afterwards."""
        gate = self._parts.gate
        permit = await gate.admit(self._run.hold, self._circuit_key)
        try:
            await self._run.check_claim()
        except BaseException:
            await gate.release(permit)
            raise
        return permit

    async def _park(self, events: Sequence[Event]) -> Sequence[Event]:
        """Park events while their key has a list, and return the events to handle."""
        if self._parking is None or not self._parking.concerns(self._list):
            return events
        joining = Joining(self._run, self.scope(), self._circuit_key, self._list)
        events = await self._skip_replayed(events, self._parking.replayed(self._list))
        while events and self._parking.is_parked(self._list):
            # An open circuit holds the checkpoint.
            await self._parts.gate.wait_while_open(self._run.hold)
            room, parked = await joining.take(events[0], len(events)), 0
            if not room:
                continue
            try:
                reply = await self._parking.park(self._list, events[:room])
                parked = reply.states.count(ParkState.PARKED)
            finally:
                joining.joined(parked)
            stored, events = events[: len(reply.states)], events[len(reply.states) :]
            states = Counter(reply.states)
            self.parked += states.pop(ParkState.PARKED, 0)
            self.skipped += states.pop(ParkState.REPLAYED, 0)
            self.poisoned += states.total()
            await self._finish_all(stored)
            if reply.released:
                self._run.budgets.waits_for.pop(self._list, None)
                events = await self._skip_replayed(events, reply.replayed)
        return events

    async def _skip_replayed(self, events: Sequence[Event], replayed: Replayed) -> Sequence[Event]:
        """Finish the events that a replay has already handled, and return the others."""
        if not replayed:
            return events
        skipped = [event for event in events if is_reached(position_of(event), replayed)]
        self.skipped += len(skipped)
        await self._finish_all(skipped)
        return [event for event in events if not is_reached(position_of(event), replayed)]

    async def _finish_all(self, events: Sequence[Event]) -> None:
        await asyncio.gather(*map(self._progress.finish, events))  # they share a commit

    async def _settle_overdue(self, events: Sequence[Event]) -> Sequence[Event]:
        """Settle the first event, whose call may still run, without a call."""
        event, *others = events
        defers = self._defers and self._parts.settings.deferred_events_max > 0
        outcome = await settle_overdue(self._run, event, self._list, defers=defers)
        if not await self._finish_outcome(event, _NO_PERMIT, outcome):
            return events
        await self._progress.finish(event)
        self._parts.telemetry.event_finished(event)
        return others

    async def _finish_outcome(
        self, event: Event, permit: Permit, failure: Failure | ParkState | None
    ) -> bool:
        """Keep, defer or poison a failed event, and report the outcome to the circuit.

        A success without a probe permit never comes here.

        Returns:
            Whether the event is finished; False: its list already has it as a poisoned event.
        """
        if event.key is not self._key:  # the handler may have replaced the key of its event
            event = replace(event, key=self._key)
        outcome: Failure | ParkState | None = failure
        self._keeping.begin(self._began, self._permit)
        while isinstance(outcome, Failure) and outcome.kind.keeps:
            outcome, permit = await self._keeping.keep(event, self._list, permit, outcome)
        self._parts.watch.settled(event.source, event)
        match outcome:
            case None:
                await self._outcome.succeeded(permit)
                self.handled += 1
            case Failure():
                await self._outcome.failed(event, permit, outcome)
                self.poisoned += 1
            case ParkState.PARKED:
                self.deferred += 1
            case ParkState.REPLAYED:
                self.skipped += 1
            case _:
                return False
        return True
