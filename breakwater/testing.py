"""The test kit: runs a handler as the app does, without Azure, Redis or waiting.

A handler's test needs no service and no setting:

    >>> from breakwater import PoisonEventError
    >>> from breakwater.testing import event, run
    >>> def handle(event):
    ...     if event.json()["total"] < 0:
    ...         raise PoisonEventError("a negative total")
    >>> good, bad = event({"total": 3}, key="c1"), event({"total": -1}, key="c2")
    >>> outcome = run(handle, [good, bad])
    >>> outcome.handled == [good], outcome.poisoned == [bad]
    (True, True)
    >>> outcome.of(bad).why
    'processing.errors.PoisonEventError: a negative total'

The shipped processor runs the handler: with its retries, its order of keys, its poison queue, its
deferrals and its circuits. The stores are in memory, and pauses take no time.

| name | use |
|---|---|
| `event` | an event with defaults for everything but its body |
| `run`, `run_async` | one run of a handler; the second on the running event loop |
| `TestApp`, `AsyncTestApp` | several runs on the same stores |
| `downstream_down` | an outage of a dependency |
| `Outcome`, `EventOutcome`, `Call` | what a run returns |
"""

from processing.testing.app import AsyncTestApp
from processing.testing.events import event
from processing.testing.outages import downstream_down
from processing.testing.outcome import Call, EventOutcome, Outcome
from processing.testing.running import TestApp, run, run_async

__all__ = [
    "AsyncTestApp",
    "Call",
    "EventOutcome",
    "Outcome",
    "TestApp",
    "downstream_down",
    "event",
    "run",
    "run_async",
]
