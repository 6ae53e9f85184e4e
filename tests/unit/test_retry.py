"""RetryPolicy: how often, how long apart, and what the last error says."""

from __future__ import annotations

import asyncio
import socket

import pytest
import redis

from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event
from processing.retry import Failure, FailureKind, RetryPolicy
from tests.unit.events import event


class Sleeps(list[float]):
    """Records pauses instead of making them."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


class Failing:
    """A handler that raises the given errors in turn, then succeeds."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self, _event: Event) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


def policy(sleep: Sleeps, **values: float) -> RetryPolicy:
    times = iter(range(1000))
    return RetryPolicy(
        max_attempts=int(values.get("max_attempts", 4)),
        initial_seconds=1.0,
        max_seconds=3.0,
        sleep=sleep,
        clock=lambda: float(next(times)),
    )


async def test_success_needs_no_pause() -> None:
    """The healthy path: one call, no pause."""
    sleeps, handler = Sleeps(), Failing()
    assert await policy(sleeps).run(handler, event(1)) is None
    assert (handler.calls, sleeps) == (1, [])


async def test_succeeds_later() -> None:
    """An event that succeeds within its attempts has not failed."""
    sleeps, handler = Sleeps(), Failing(RuntimeError("a"), RuntimeError("b"))
    assert await policy(sleeps).run(handler, event(1)) is None
    assert handler.calls == 3
    assert len(sleeps) == 2


async def test_exhausted() -> None:
    """max_attempts counts the first; pauses double, with jitter, up to the longest."""
    sleeps, last = Sleeps(), RuntimeError("last")
    handler = Failing(*[RuntimeError("x")] * 3, last)
    failure = await policy(sleeps).run(handler, event(1))
    assert failure == Failure(FailureKind.EXHAUSTED, last, 4, 0.0, 3.0)
    assert handler.calls == 4
    first, second, third = sleeps
    assert 1 <= first <= 2
    assert 2 <= second <= 3
    assert third == 3


async def test_poison_is_not_retried() -> None:
    """PoisonEventError ends it at once, also as a later attempt's answer."""
    sleeps = Sleeps()
    failure = await policy(sleeps).run(Failing(PoisonEventError("bad")), event(1))
    assert failure is not None
    assert (failure.kind, failure.attempts, sleeps) == (FailureKind.POISON, 1, [])
    failure = await policy(sleeps).run(Failing(RuntimeError(), PoisonEventError("bad")), event(1))
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.POISON, 2)


@pytest.mark.parametrize(
    "error",
    [
        DependencyUnavailableError("down"),
        ConnectionResetError(),
        TimeoutError(),
        redis.exceptions.ConnectionError(),
        redis.exceptions.BusyLoadingError(),
        socket.gaierror(),
        ExceptionGroup("group", [DependencyUnavailableError("down")]),
        ExceptionGroup("group", [LookupError(), ExceptionGroup("inner", [TimeoutError()])]),
    ],
)
async def test_dependency_errors(error: Exception) -> None:
    """Connection and timeout errors of the usual clients mean that a dependency is down."""
    failure = await policy(Sleeps(), max_attempts=1).run(Failing(error), event(1))
    assert failure is not None
    assert failure.kind is FailureKind.DEPENDENCY


async def test_a_group_with_a_verdict() -> None:
    """A handler's task group is poison, and not retried, if one of its tasks says so."""
    error = ExceptionGroup("group", [TimeoutError(), PoisonEventError("bad"), LookupError()])
    failure = await policy(Sleeps()).run(Failing(error), event(1))
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.POISON, 1)
    failure = await policy(Sleeps()).run(
        Failing(*[ExceptionGroup("g", [LookupError()])] * 4), event(1)
    )
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.EXHAUSTED, 4)


async def test_ctrl_c_goes_through() -> None:
    """Whoever ends the process on purpose is not held up by the attempts."""
    handler = Failing(KeyboardInterrupt(), KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        await policy(Sleeps()).run(handler, event(1))
    with pytest.raises(KeyboardInterrupt):
        await policy(Sleeps()).run(Failing(LookupError(), KeyboardInterrupt()), event(1))
    assert handler.calls == 1


async def test_own_dependency_errors() -> None:
    """Further types can be named; subclasses count."""

    class SpecialError(LookupError):
        pass

    kind = RetryPolicy(
        max_attempts=1,
        initial_seconds=0,
        max_seconds=0,
        dependency_errors=["builtins.LookupError"],
    ).classify(SpecialError())
    assert kind is FailureKind.DEPENDENCY


async def test_cancellation_passes() -> None:
    """Cancelling the task that runs the handler is no failure; the cancellation goes through."""
    started = asyncio.Event()

    async def hang(_event: Event) -> None:
        started.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(policy(Sleeps()).run(hang, event(1)))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_cancellation_from_inside_is_a_failure() -> None:
    """A handler that awaits something that was cancelled has failed like any other."""
    failure = await policy(Sleeps(), max_attempts=2).run(
        Failing(asyncio.CancelledError(), asyncio.CancelledError()), event(1)
    )
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.EXHAUSTED, 2)
