"""The lists of one invocation: calls with the next events of many keys at once.

Only a call with one event fails an event. A list that fails decides which of its events are called
alone; docs/adr/0048-lists.md gives the reasons.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from breaker import CircuitState, Key, Permit
from processing.batch.run import BatchRun
from processing.dependencies.scope import Scope, enter_scope
from processing.event import Event
from processing.handlers.retry import Failure, Verdict
from processing.handlers.search import Search


class Reply(NamedTuple):
    """The outcome of an offer: what its lane does next with its first events.

    Attributes:
        done: number of events that were handled.
        alone: number of events behind these that must be called alone.
        error: the error of a call with the first of these alone; None: there was no such call.
        written: the end of the write of the events that were handled; None: there are none.
    """

    done: int
    alone: int = 0
    error: Exception | None = None
    written: asyncio.Future[None] | None = None


@dataclass(slots=True, eq=False)
class _Offer:
    """The next events of one lane, in order.

    Attributes:
        reply: the answer to the lane.
        taken: number of the first events that are in the present list.
        done: number of the first events that were handled.
        written: the end of the write of these.
    """

    events: Sequence[Event]
    permit: Permit
    reply: asyncio.Future[Reply]
    taken: int = 0
    done: int = 0
    written: asyncio.Future[None] | None = None


class _HeldError(Exception):
    """A list may not start now; its events go back to their lanes, which wait at the gate."""


class ListCalls:
    """The lists of one invocation, one call at a time.

    The events of a call that succeeds are recorded at once. Their lanes may hear of it only after
    further calls and pauses, and a stop, a lost claim or a kill may come before that.

    Args:
        run: the invocation.
    """

    def __init__(self, run: BatchRun) -> None:
        self._run = run
        self._parts = run.parts
        self._most = run.parts.settings.batch_handler_events
        self._key = Key(run.source.partition, several=True)
        self._waiting: list[_Offer] = []
        self._owners: dict[int, _Offer] = {}  # of the present list, by sequence number
        self._caller: asyncio.Task[None] | None = None
        self._is_cancelled = False
        self._scope: Scope | None = None
        self._served: Counter[str] = Counter()  # blocks of the present call, by dependency

    async def offer(self, events: Sequence[Event], permit: Permit) -> Reply:
        """Offer the next events of a lane to the next lists, and wait for what becomes of them.

        Args:
            events: the events, in order.
            permit: admits them; with a probe's permit it is one event.

        Returns:
            The events that were handled, and those that the lane must call alone. Neither: the
            circuit admits no list now, or the list has ended before these events.
        """
        reply: asyncio.Future[Reply] = self._run.loop.create_future()
        self._waiting.append(_Offer(events, permit, reply))
        if self._caller is None:
            self._caller = asyncio.create_task(self._call_lists())
        try:
            return await reply
        except asyncio.CancelledError:
            await self._cancel()
            raise

    async def _cancel(self) -> None:
        """Cancel the call once, because the invocation is cancelled, and wait for its end."""
        if self._caller is None:
            return
        if not self._is_cancelled:
            self._is_cancelled = True
            self._caller.cancel()
        await asyncio.wait({self._caller})

    def scope(self) -> Scope | None:
        """Return the dependencies of the present list; None if the app has none."""
        circuits = self._parts.dependencies
        if self._scope is None and circuits is not None and self._caller is not None:
            # A list has no probe's permit of a dependency: it would need one for each event.
            self._scope = Scope(
                circuits, self._key, self._run.loop, probes=False, successes=self._served
            )
        return self._scope

    async def _call_lists(self) -> None:
        enter_scope(self)
        try:
            while self._waiting:
                await asyncio.sleep(0)  # other ready lanes offer their events first
                await self._call_list(self._take())
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._caller = None
            self._owners = {}
            if self._scope is not None:
                scope, self._scope = self._scope, None
                await scope.close()

    def _fail(self, error: BaseException) -> None:
        """End all offers, because of an error that is no error of the handler.

        The lanes count what was handled, and then the gate raises the error.
        """
        if isinstance(error, Exception):
            self._run.hold.halt(error)
        for offer in {*self._owners.values(), *self._waiting}:
            if isinstance(error, Exception):
                _answer(offer)
            else:
                offer.reply.cancel()
        self._waiting = []

    def _take(self) -> list[Event]:
        """Return the oldest events of all offers, in the order of the partition."""
        offers, self._waiting = self._waiting, []
        for offer in offers:
            if not self._admits(offer):
                _answer(offer)
        offers = [offer for offer in offers if not offer.reply.done()]
        owners = {each.sequence_number: offer for offer in offers for each in offer.events}
        events = sorted(
            chain.from_iterable(offer.events for offer in offers), key=attrgetter("sequence_number")
        )
        taken = events[: self._most]
        if len(taken) < len(events):
            owners = {each.sequence_number: owners[each.sequence_number] for each in taken}
        for offer in owners.values():
            offer.taken += 1
        self._owners = owners
        self._waiting = [offer for offer in offers if not offer.taken]
        return taken

    def _admits(self, offer: _Offer) -> bool:
        """Return whether an offer's events may start now: lanes wait at the gate, and not here."""
        if offer.reply.done():  # its lane is cancelled
            return False
        crashes = self._parts.crashes
        if (crashes is not None and crashes.switch.on) or self._parts.gate.stopping:
            return False
        circuit, permit = self._parts.breaker.circuit, offer.permit
        if self._run.is_halted or circuit.generation != permit.generation:
            return False
        if permit.probe_id is None:
            return circuit.admits
        return circuit.admits or (circuit.state is CircuitState.HALF_OPEN and not circuit.holding)

    def _may_call(self, events: Sequence[Event]) -> bool:
        offers = {self._owners[each.sequence_number] for each in events}
        return all(map(self._admits, offers))

    def _check_start(self, events: Sequence[Event]) -> None:
        if not self._may_call(events):
            raise _HeldError

    async def _call_list(self, events: list[Event]) -> None:
        """Call the handler with a list, and search a failed list for the event that fails."""
        if len(events) == 1 and self._owners[events[0].sequence_number].permit.probe_id is not None:
            self._leave_alone(events)
            return
        search, failure = Search(len(events)), None
        while search.part:
            begin, end = search.done, search.end
            part = events[begin : begin + search.part]
            try:
                failure = await self._try(part)
            except _HeldError:
                self._return(events[begin:end])
                return
            search.note(None if failure is None else failure.kind)
            self._finish(events[begin : search.done])
            self._return(events[search.end : end])
        alone = events[search.done : search.end]
        if failure is None or len(events) > 1 or failure.dependency:
            self._leave_alone(alone)
        else:
            # The lane's circuits know no name of a dependency that this call has named.
            self._leave_alone(alone, failure.error)

    async def _try(self, events: Sequence[Event]) -> Failure | None:
        """Call the handler, again after a short pause if a dependency failed; return the failure.

        The lane of an event alone makes the further attempts itself.

        Raises:
            _HeldError: the list may not start, or not again, now.
        """
        listed, now = tuple(events), self._run.now
        until = now() + self._parts.settings.retry_max_seconds

        async def call(_first: Event) -> None:
            self._served.clear()
            await self._parts.handle_list(listed)

        async def check() -> None:
            await self._run.check_claim()
            self._check_start(listed)

        def gives_up(verdict: Verdict) -> bool:
            keeps = verdict.kind.keeps and len(listed) > 1
            return not keeps or now() >= until or not self._may_call(listed)

        self._check_start(listed)
        try:
            failure = await self._parts.retry_list.run(
                call, listed[0], gives_up, check, self._run.pause
            )
        finally:
            if self._scope is not None and self._scope.unsettled:
                await self._scope.end()
        if failure is not None:
            return failure
        for name in self._served:
            self._run.dependency_successes[name] += len(listed)
        return None

    def _finish(self, events: Sequence[Event]) -> None:
        """Record events that were handled, and answer the offers that have no others."""
        progress = self._run.progress
        written = progress.note(events) if events and progress is not None else None
        for each in events:
            offer = self._owners[each.sequence_number]
            offer.done += 1
            offer.written = written
            if offer.done == offer.taken:
                _answer(offer)

    def _leave_alone(self, events: Sequence[Event], error: Exception | None = None) -> None:
        """Let the lanes of events call these events alone; what is behind them leaves the list."""
        alone = Counter(self._owners[each.sequence_number] for each in events)
        for offer, count in alone.items():
            _answer(offer, count, error)

    def _return(self, events: Sequence[Event]) -> None:
        """Take events that were not called out of the list."""
        for each in events:
            offer = self._owners[each.sequence_number]
            offer.taken -= 1
            if offer.done == offer.taken:
                _answer(offer)


def _answer(offer: _Offer, alone: int = 0, error: Exception | None = None) -> None:
    if not offer.reply.done():
        offer.reply.set_result(Reply(offer.done, alone, error, offer.written))
