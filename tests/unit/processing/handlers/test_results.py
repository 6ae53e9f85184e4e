"""Results of handlers: work is awaited once, and work that was not done is never a success."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from processing.errors import DependencyUnavailableError, FaultyHandlerError
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.handlers.results import PROBLEM_SECONDS, Results
from processing.handlers.retry import FailureKind, RetryPolicy
from tests.support.processing.events import batch, event
from tests.support.processing.parking_rig import open_rig as open_parking_rig
from tests.support.processing.processor_rig import keyed, open_rig

done: list[str] = []


@pytest.fixture(autouse=True, scope="module")
def _freeze_older_objects() -> Iterator[None]:
    """Let the collections after the tests look only at objects that these tests made.

    A collection of all objects of a process that has run other tests takes a second.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _clear() -> Iterator[None]:
    done.clear()
    yield
    gc.collect()  # a coroutine that is dropped without an await warns here, and warnings are errors


async def work(_event: object = None) -> None:
    await asyncio.sleep(0)
    done.append("work")


async def fail(_event: object = None) -> None:
    await asyncio.sleep(0)
    raise LookupError("late")


class Awaitable:
    def __await__(self) -> Generator[Any]:
        yield from work().__await__()


def finished(value: object = None) -> concurrent.futures.Future[object]:
    future: concurrent.futures.Future[object] = concurrent.futures.Future()
    future.set_result(value)
    return future


def failed() -> concurrent.futures.Future[object]:
    future: concurrent.futures.Future[object] = concurrent.futures.Future()
    future.set_exception(LookupError("late"))
    return future


def cancelled() -> concurrent.futures.Future[object]:
    future: concurrent.futures.Future[object] = concurrent.futures.Future()
    future.cancel()
    return future


def generator() -> Iterator[None]:
    yield


async def async_generator() -> AsyncIterator[None]:
    yield


manager = contextmanager(generator)
async_manager = asynccontextmanager(async_generator)


async def returns(value: Any) -> Any:
    return value


async def later(value: Callable[[], Any]) -> Any:
    return value()


AWAITED: dict[str, Callable[[], Any]] = {
    "coroutine": work,
    "task": lambda: asyncio.ensure_future(work()),
    "object that can be awaited": Awaitable,
    "gathered": lambda: asyncio.gather(work(), work()),
}
FAILS_LATE: dict[str, Callable[[], Any]] = {
    "coroutine": fail,
    "task": lambda: asyncio.ensure_future(fail()),
    "future of a thread": failed,
    "gathered": lambda: asyncio.gather(work(), fail()),
}
FORGOTTEN: dict[str, tuple[Callable[[], Any], str]] = {
    "generator": (generator, "a generator: nobody iterates over it"),
    "async generator": (async_generator, "an async generator: nobody iterates over it"),
    "context manager": (manager, "a context manager: a `with` is missing"),
    "async context manager": (async_manager, "a context manager: a `with` is missing"),
    "partial": (lambda: functools.partial(work), "a function: its call is missing"),
    "function": (lambda: work, "a function: its call is missing"),
    "method": (lambda: done.append, "a function: its call is missing"),
    "exception": (lambda: LookupError("x"), "an exception: a raise is missing"),
    "map": (lambda: map(print, [1]), "an iterator: nobody iterates over it"),
    "coroutines": (lambda: [work(), work()], "a list with a coroutine: an await is missing"),
    "coroutine of a coroutine": (lambda: returns(work()), "a coroutine: an await is missing"),
    "task of a task": (
        lambda: returns(asyncio.ensure_future(work())),
        "an awaitable: an await is missing",
    ),
    "future of a future": (lambda: finished(finished()), "a future: an await is missing"),
    "exception of a task": (
        lambda: asyncio.ensure_future(returns(LookupError("x"))),
        "an exception: a raise is missing",
    ),
    "exception of a thread": (
        lambda: finished(LookupError("x")),
        "an exception: a raise is missing",
    ),
}
CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda member: [None, member],
    "tuple": lambda member: (member, 1),
    "set": lambda member: {member},
    "frozenset": lambda member: frozenset([member]),
    "dict": lambda member: {"a": 1, "b": member},
    "nested": lambda member: [({"a": member},)],
}
MEMBERS: dict[str, tuple[Callable[[], Any], str]] = {
    "failed future": (failed, "a failed future: raise its error"),
    "cancelled future": (cancelled, "a cancelled future: its work was not done"),
    "running future": (concurrent.futures.Future, "a future that is not done: an await"),
    "future of an exception": (
        lambda: finished(LookupError("x")),
        "an exception: raise the error instead",
    ),
    "exception": (lambda: LookupError("x"), "an exception: raise the error instead"),
    "cancellation": (asyncio.CancelledError, "an exception: raise the error instead"),
    "coroutine": (work, "a coroutine: an await is missing"),
    "awaitable": (Awaitable, "an awaitable: an await is missing"),
    "generator": (generator, "a generator: nobody iterates over it"),
    "partial": (lambda: functools.partial(work), "a function: its call is missing"),
    "running task": (lambda: asyncio.ensure_future(work()), "a future that is not done: an await"),
}
SECONDS = (0, 60)


def both(name: str, value: Callable[[], Any], seconds: float) -> list[LoadedHandler]:
    """Return an async handler and a plain one; a thread has no event loop for tasks."""

    async def asynchronous(_event: Event) -> Any:
        return value()

    def plain(_event: Event) -> Any:
        return value()

    forms = [asynchronous] if "task" in name or "gathered" in name else [asynchronous, plain]
    return [LoadedHandler("my:handle", form, timeout_seconds=seconds) for form in forms]


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("name", AWAITED)
async def test_returned_awaitable_is_awaited(name: str, seconds: float) -> None:
    """A forgotten await does not lose the event: the work is done before the event is finished."""
    for handler in both(name, AWAITED[name], seconds):
        done.clear()
        await handler.handle(event(1))
        assert done
        await handler.aclose()


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("name", FAILS_LATE)
async def test_error_of_a_returned_awaitable_is_the_handlers(name: str, seconds: float) -> None:
    """The event is retried like an event whose handler raised the error."""
    for handler in both(name, FAILS_LATE[name], seconds):
        with pytest.raises(LookupError, match="late"):
            await handler.handle(event(1))
        assert handler.results.problem is None
        await handler.aclose()


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("name", FORGOTTEN)
async def test_work_that_nobody_did_is_the_handlers_fault(name: str, seconds: float) -> None:
    """The error and the health report name the handler and what was probably forgotten."""
    value, says = FORGOTTEN[name]
    for handler in both(name, value, seconds):
        with pytest.raises(FaultyHandlerError) as caught:
            await handler.handle(event(1))
        assert str(caught.value).startswith(f"handler my:handle returned {says}")
        assert handler.results.problem is not None
        assert handler.results.problem.startswith(str(caught.value))
        await asyncio.sleep(0)  # a task that nobody awaits ends
        await asyncio.sleep(0)
        await handler.aclose()


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("container", CONTAINERS)
async def test_undone_work_in_a_container_is_the_handlers_fault(
    container: str, member: str
) -> None:
    """The error names the container that the handler returned, and what was found in it."""
    value, says = MEMBERS[member]
    result = CONTAINERS[container](value())
    with pytest.raises(FaultyHandlerError) as caught:
        await Results("my:handle").settle(result)
    kind = type(result).__name__
    assert str(caught.value).startswith(f"handler my:handle returned a {kind} with {says}")
    await asyncio.sleep(0)  # a task that nobody awaits ends
    await asyncio.sleep(0)


async def test_gathered_exceptions_are_the_handlers_fault() -> None:
    """`return_exceptions=True` hides the failure of a part of the work."""

    async def gathers(_event: Event) -> Any:
        return await asyncio.gather(work(), fail(), return_exceptions=True)

    with pytest.raises(FaultyHandlerError, match="a list with an exception: raise the error"):
        await LoadedHandler("my:handle", gathers).handle(event(1))


@pytest.mark.parametrize(("second", "says"), [(fail, "a failed future"), (work, None)])
async def test_tasks_that_wait_returns_are_read(
    second: Callable[[], Any], says: str | None
) -> None:
    """`asyncio.wait` raises no error of the tasks that it returns."""

    async def waits(_event: Event) -> Any:
        return await asyncio.wait({asyncio.ensure_future(work()), asyncio.ensure_future(second())})

    handler = LoadedHandler("my:handle", waits)
    if says is None:
        await handler.handle(event(1))
        return
    with pytest.raises(FaultyHandlerError, match=f"returned a tuple with {says}"):
        await handler.handle(event(1))


async def test_coroutine_after_a_fault_in_a_container_is_closed() -> None:
    """Python would otherwise warn about each coroutine that the handler made."""
    with pytest.raises(FaultyHandlerError, match="a dict with an exception"):
        await Results("my:handle").settle({"a": LookupError("x"), "b": [work(), work()]})


async def test_search_of_a_container_is_bounded() -> None:
    """A large result of values stays cheap, and one that holds itself ends."""
    looked = 0

    class Counted(list[object]):
        def __iter__(self) -> Iterator[object]:
            nonlocal looked
            for each in super().__iter__():
                looked += 1
                yield each

    itself: list[object] = [1]
    itself.extend([itself, itself, itself])
    for value in (Counted(range(1_000_000)), [Counted([1] * 600)] * 1_000, itself):
        await Results("my:handle").settle(value)
    assert looked < 3_000


async def test_coroutine_that_was_awaited_before_is_the_handlers_fault() -> None:
    """Its result is gone, so nobody knows whether the work was done."""

    async def again(_event: Event) -> Any:
        coroutine = work()
        await coroutine
        return coroutine

    with pytest.raises(FaultyHandlerError, match="that was awaited before"):
        await LoadedHandler("my:handle", again).handle(event(1))


async def test_future_of_another_loop_is_the_handlers_fault() -> None:
    """Awaiting it here would wait forever."""
    other = asyncio.new_event_loop()
    try:
        future = other.create_future()
        with pytest.raises(FaultyHandlerError, match="of another event loop"):
            await LoadedHandler("my:handle", lambda _event: returns_now(future)).handle(event(1))
    finally:
        other.close()


def returns_now(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    "value",
    [0, True, "text", [1], {"a": 1}, object(), [None, None], [finished()], {"a": {"b": (1, {2})}}],
)
async def test_other_value_is_logged_once(value: object, caplog: pytest.LogCaptureFixture) -> None:
    """The event is handled; the log says that the value is ignored, and of which type it is."""

    async def handle(_event: Event) -> Any:
        return value

    handler = LoadedHandler("my:handle", handle)
    await handler.handle(event(1))
    await handler.handle(event(2))
    (message,) = caplog.messages
    assert message.startswith(f"Handler my:handle returned a value of type {type(value).__name__};")


async def test_time_limit_includes_the_returned_awaitable() -> None:
    """A hanging result is cancelled like a hanging handler."""

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.append("cancelled")

    async def handle(_event: Event) -> Any:
        return hang()

    handler = LoadedHandler("my:handle", handle, timeout_seconds=0.001)
    with pytest.raises(TimeoutError, match=r"longer than 0\.001 s"):
        async with asyncio.timeout(10):
            await handler.handle(event(1))
    assert done == ["cancelled"]


async def test_overdue_future_of_a_thread_is_awaited(caplog: pytest.LogCaptureFixture) -> None:
    """A second call beside a thread that still works would break the order of the key's events."""
    release = threading.Event()
    with ThreadPoolExecutor(1) as pool:

        async def handle(_event: Event) -> Any:
            return pool.submit(release.wait, 10)

        handler = LoadedHandler("my:handle", handle, timeout_seconds=0.001)
        call = asyncio.ensure_future(handler.handle(event(1)))
        try:
            async with asyncio.timeout(10):
                while "was cancelled but still runs" not in caplog.text:
                    await asyncio.sleep(0)
            assert not call.done()
        finally:
            release.set()
        await call
    assert "the event counts as handled" in caplog.text


async def test_overdue_future_that_has_not_started_is_cancelled() -> None:
    """Nothing runs, so the event can be tried again."""
    future: concurrent.futures.Future[object] = concurrent.futures.Future()

    async def handle(_event: Event) -> Any:
        return future

    handler = LoadedHandler("my:handle", handle, timeout_seconds=0.001)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10):
            await handler.handle(event(1))
    assert future.cancelled()


async def test_cancelled_call_in_a_thread_leaves_no_coroutine() -> None:
    """The invocation is gone when the thread returns a coroutine, which is closed unstarted."""
    started, release = threading.Event(), threading.Event()

    def handle(_event: Event) -> Any:
        started.set()
        release.wait(10)
        return work()

    handler = LoadedHandler("my:handle", handle, timeout_seconds=60)
    call = asyncio.ensure_future(handler.handle(event(1)))
    await asyncio.to_thread(started.wait, 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    release.set()
    assert handler._pool is not None
    handler._pool.shutdown(wait=True)
    assert done == []


async def test_handler_without_a_thread_is_not_the_events_fault() -> None:
    """The event is kept: the system has no more threads, or the instance is ending."""
    handler = LoadedHandler("my:handle", lambda _event: None)
    await handler.aclose()
    with pytest.raises(DependencyUnavailableError, match="no thread can run the handler"):
        await handler.handle(event(1))


async def test_problem_is_shown_until_the_results_are_right_for_a_while() -> None:
    """The pause before a kept event runs again is shorter than that time."""
    now = [0.0]
    results = Results("my:handle", clock=lambda: now[0])
    shown = [bool(results.problem)]
    with pytest.raises(FaultyHandlerError):
        await results.settle(work)
    for now[0] in (PROBLEM_SECONDS - 1, PROBLEM_SECONDS + 1):
        shown.append(bool(results.problem))
    assert shown == [False, True, False]


async def test_faulty_result_is_kept_counted_and_never_poisoned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The handler is at fault: a corrected handler finds each event in its place."""
    attempts = 0

    async def forget(each: Event) -> Any:
        nonlocal attempts
        attempts += each.sequence_number == 0
        return generator() if attempts < 3 and each.sequence_number == 0 else None

    handler = LoadedHandler("my:handle", forget, timeout_seconds=60)
    async with open_rig(handler.handle, settings={"hold_seconds": 60.0}) as rig:
        result = await rig.processor.process(batch(keyed("a", "a")))
        assert (rig.handled, rig.poisoned, result.handled) == ([0, 1], [], 2)
        assert (await rig.breaker.refresh()).failures == 1
    assert attempts == 3, "one attempt a round: no fast retries"
    assert "handler my:handle returned a generator" in caplog.messages[0]
    assert "its key waits" in caplog.messages[0]


async def test_faulty_result_stops_a_redrive() -> None:
    """The message stays as it is, and the summary says why."""
    async with open_parking_rig() as rig:
        rig.bad = {0}
        await rig.processor().process(batch(keyed("a")))
        handler = LoadedHandler("my:handle", lambda _event: generator())
        summary = await rig.redrive(handler=handler).run()
        assert (summary.replayed, summary.failed, summary.left) == (0, (), 1)
        assert summary.stopped.startswith("the handler is faulty: FaultyHandlerError: handler my:h")
        assert rig.poison.messages[0].redrives == 0
        await handler.aclose()


async def test_faulty_handler_gets_no_fast_retry() -> None:
    """A retry a moment later returns the same; within a group as well."""
    policy = RetryPolicy(max_attempts=4, initial_seconds=0, max_seconds=0)
    handler = LoadedHandler("my:handle", lambda _event: generator())
    failure = await policy.run(handler.handle, event(1))
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.FAULTY, 1)
    await handler.aclose()
