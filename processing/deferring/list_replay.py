"""The lists of one replay: calls with the next events of a deferred key, for a handler of lists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from processing.deferring.admission import Need
from processing.deferring.context import ReplayContext
from processing.deferring.held_list import HeldList
from processing.errors import BodyLostError, StorageUnavailableError
from processing.event import Event
from processing.handlers.failures.kind import FailureKind, Verdict
from processing.handlers.search import Search
from processing.parking.event import ParkedEvent, with_body
from processing.parking.store import Entry, EntryKind


class ListReplay:
    """The lists of one replay.

    An event that has failed before is called alone, and so is each event while a circuit is not
    closed, because a probe's permit admits one event.

    Args:
        context: the state that the replays of the instance share.
        held: the list of the key.
        begin: awaited before each call; raises if no attempt may start.

    Attributes:
        alone: number of the next entries that must be called alone.
        is_empty: whether the list had no entry left when the last one was finished.
    """

    def __init__(
        self, context: ReplayContext, held: HeldList, begin: Callable[[], Awaitable[None]]
    ) -> None:
        self._context = context
        self._parts = context.parts
        self._held = held
        self._begin = begin
        self.alone = 0
        self.is_empty = False

    async def replay(self, entries: Sequence[Entry], need: Need | None) -> int:
        """Replay the next entries in lists, until one must be called alone.

        Args:
            entries: the first entries of the key's list.
            need: the dependency that the key waits for.

        Returns:
            The number of finished entries.

        Raises:
            LeaseLostError, OutOfTimeError, ShutdownError: no attempt may start.
            StorageUnavailableError: a store did not answer.
        """
        deferral = self._held.deferral
        if deferral.attempts > 0 and deferral.head in ("", entries[0].position):
            self.alone = 1
        if self.alone or not self._may_call(need):
            self.alone = max(1, self.alone)
            return 0
        events = await self._events(entries[: self._parts.settings.batch_handler_events])
        search = Search(len(events) if len(events) > 1 else 0)
        while search.part and self._may_call(need):
            begin = search.done
            part = [event for _, event in events[begin : begin + search.part]]
            await self._begin()
            if not self._may_call(need):  # careful mode may have begun
                break
            search.note(await self._try(part))
            for number in range(begin, search.done):
                parked, event = events[number]
                left = await self._held.finish(entries[number], event, parked.claim_check)
                self.is_empty = not left
        if search.done < len(entries):
            self.alone = max(1, search.alone)
        return search.done

    def _may_call(self, need: Need | None) -> bool:
        """Return whether a list may start now: no permit of a probe is needed."""
        crashes = self._parts.crashes
        if (crashes is not None and crashes.switch.on) or not self._parts.breaker.circuit.admits:
            return False
        admits = need is None or need.breaker.circuit.admits
        return admits and self._context.may_start(self._held.place)

    async def _events(self, entries: Sequence[Entry]) -> list[tuple[ParkedEvent, Event]]:
        """Return the events of the first entries, up to one that cannot be read now."""
        found = []
        for entry in entries:
            if entry.kind is not EntryKind.EVENT:
                break
            try:
                parked = ParkedEvent.from_json(entry.document)
                event = (await with_body(parked, self._context.parking.claims)).event
            except (BodyLostError, StorageUnavailableError, ValueError):
                break
            found.append((parked, event))
        return found

    async def _try(self, events: Sequence[Event]) -> FailureKind | None:
        """Call the handler once with a list; return the kind of its failure."""
        listed = tuple(replace(event) for event in events)  # a handler may replace their parts

        async def call(_first: Event) -> None:
            await self._parts.handle_list(listed)

        def gives_up(_verdict: Verdict) -> bool:
            return True

        failure = await self._parts.retry_list.run(call, listed[0], gives_up)
        return None if failure is None else failure.kind
