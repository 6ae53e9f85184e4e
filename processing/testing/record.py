"""The record of a test: each event that the app received, and each call of the handler."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from processing.dependencies.outages import OUTAGES
from processing.event import Event
from processing.handlers.raised import as_failure
from processing.testing.outcome import Call

type Handle = Callable[[Event], Awaitable[None]]


class Record:
    """The record of all events and calls, over all runs of a test.

    Attributes:
        events: the events by id, in the order in which the app received them.
        calls: the calls, in the order of their ends.
        attempts: number of calls by the event's id.
        errors: the error of the last failed call, by the event's id.
        finished: ids of the events whose handler ran to its end at least once.
        crash_after: the id of an event after whose handling the process dies; "" for none.
        crashed: set when the process has died.
    """

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.calls: list[Call] = []
        self.attempts: Counter[str] = Counter()
        self.errors: dict[str, Exception] = {}
        self.finished: set[str] = set()
        self.crash_after = ""
        self.crashed = asyncio.Event()

    def add(self, events: Iterable[Event]) -> None:
        """Note events that the app receives now."""
        for event in events:
            self.events.setdefault(event.id, event)

    def recorded(self, handle: Handle) -> Handle:
        """Return the handler's call with a record of its end."""

        async def call(event: Event) -> None:
            known = self.events.get(event.id, event)
            self.attempts[event.id] += 1
            try:
                _fail_if_down()
                await handle(event)
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                self.errors[event.id] = as_failure(error)
                self.calls.append(Call(known, self.errors[event.id]))
                raise
            self.calls.append(Call(known, None))
            self.finished.add(event.id)
            if event.id == self.crash_after:
                self.crashed.set()
                # A dead process stores nothing; the run cancels this call.
                await asyncio.Event().wait()

        return call


def _fail_if_down() -> None:
    """Raise the error of an outage that a test has declared without a name."""
    outage = OUTAGES.get("")
    error = None if outage is None else outage.fail(asyncio.get_running_loop().time())
    if error is not None:
        raise error
