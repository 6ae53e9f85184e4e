"""The record of a test: each event that the app received, and each call of the handler."""

from __future__ import annotations

import asyncio
import bdb
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from processing.dependencies.outages import OUTAGES
from processing.event import Event
from processing.handlers.raised import as_failure
from processing.testing.outcome import Call

type Handle = Callable[[Event], Awaitable[None]]
type HandleList = Callable[[tuple[Event, ...]], Awaitable[None]]


class Record:
    """The record of all events and calls, over all runs of a test.

    Attributes:
        events: the events by id, in the order in which the app received them.
        calls: the calls, in the order of their ends.
        attempts: number of calls by the event's id.
        errors: the error of the last failed call, by the event's id.
        finished: ids of the events whose handler ran to its end at least once.
        crash_after: the id of an event after whose handling the process dies; "" for none.
        ended: set when the process has died, or when a call has ended the whole test.
    """

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.calls: list[Call] = []
        self.attempts: Counter[str] = Counter()
        self.errors: dict[str, Exception] = {}
        self.finished: set[str] = set()
        self.crash_after = ""
        self.ended = asyncio.Event()
        self._outcome: BaseException | None = None

    def add(self, events: Iterable[Event]) -> None:
        """Note events that the app receives now."""
        for event in events:
            self.events.setdefault(event.id, event)

    def recorded(self, handle: Handle) -> Handle:
        """Return the handler's call with a record of its end."""

        async def call(event: Event) -> None:
            await self._record((event,), lambda: handle(event))

        return call

    def recorded_list(self, handle: HandleList) -> HandleList:
        """Return the call of a handler of lists with a record of its end."""

        async def call(events: tuple[Event, ...]) -> None:
            await self._record(events, lambda: handle(events))

        return call

    async def _record(self, events: tuple[Event, ...], call: Callable[[], Awaitable[None]]) -> None:
        known = tuple(self.events.get(event.id, event) for event in events)
        self.attempts.update(event.id for event in known)
        try:
            _fail_if_down()
            await call()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if (outcome := _outcome_of_test(error)) is not None:
                await self._end(outcome)
            failure = as_failure(error)
            self.errors.update((event.id, failure) for event in known)
            self.calls.append(Call(known[0], failure, known))
            raise
        self.calls.append(Call(known[0], None, known))
        self.finished.update(event.id for event in known)
        if any(event.id == self.crash_after for event in known):
            await self._end()

    def take_end(self) -> tuple[bool, BaseException | None]:
        """Return whether the process has died, and the outcome that a call has raised for the test.

        The next run begins without both.
        """
        has_died = self.ended.is_set() and self._outcome is None
        outcome, self._outcome, self.crash_after = self._outcome, None, ""
        self.ended.clear()
        return has_died, outcome

    async def _end(self, outcome: BaseException | None = None) -> None:
        self._outcome = outcome
        self.ended.set()
        # A dead process stores nothing; the run cancels this call.
        await asyncio.Event().wait()


def _fail_if_down() -> None:
    """Raise the error of an outage that a test has declared without a name."""
    outage = OUTAGES.get("")
    error = None if outage is None else outage.fail(asyncio.get_running_loop().time())
    if error is not None:
        raise error


def _outcome_of_test(error: BaseException) -> BaseException | None:
    """Return an error that is meant for the test and not for the app; None for all others.

    Such as `pytest.fail` and `pytest.skip` in a handler, or the end of a debugger. As a failure of
    the event it would be retried. A handler in a thread raises it as the cause of another error.
    """
    for each in (error, error.__cause__):
        modules = {kind.__module__ for kind in type(each).__mro__}
        if isinstance(each, bdb.BdbQuit) or "_pytest.outcomes" in modules:
            return each
    return None
