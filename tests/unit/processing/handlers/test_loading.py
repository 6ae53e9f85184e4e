"""Loading and calling of handlers in every form."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Self

import pytest

from processing.errors import HandlerLoadError
from processing.event import Event
from processing.handlers.loading import LoadedHandler, load_handler
from processing.handlers.retry import FailureKind, RetryPolicy
from tests.support.processing.events import event

seen: list[tuple[str, int]] = []
NOT_CALLABLE = 3
POLICY = RetryPolicy(max_attempts=1, initial_seconds=0, max_seconds=0)


async def async_handler(each: Event) -> None:
    seen.append((threading.current_thread().name, each.sequence_number))


def plain_handler(each: Event) -> None:
    seen.append((threading.current_thread().name, each.sequence_number))


class Configured:
    closed = False

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(settings["NAME"])

    async def __call__(self, each: Event) -> None:
        seen.append((self.name, each.sequence_number))

    async def aclose(self) -> None:
        Configured.closed = True


@pytest.fixture(autouse=True)
def _clear_seen() -> None:
    seen.clear()


async def test_async_function_runs_on_the_event_loop() -> None:
    """The handler runs on the thread of the loop."""
    handler = load_handler(f"{__name__}:async_handler", {})
    await handler.handle(event(1))
    await handler.aclose()
    assert seen == [(threading.current_thread().name, 1)]


async def test_plain_function_runs_in_a_thread() -> None:
    """A blocking handler must not block the event loop."""
    handler = load_handler(f"{__name__}:plain_handler", {})
    await handler.handle(event(1))
    await handler.aclose()
    assert seen[0][0].startswith("handler")


async def test_class_is_built_from_settings_and_closed() -> None:
    """`from_settings` gets the app settings, and `aclose` is awaited at the end."""
    handler = load_handler(f"{__name__}:Configured", {"NAME": "it"})
    await handler.start()
    await handler.handle(event(2))
    await handler.aclose()
    assert seen == [("it", 2)]
    assert Configured.closed


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nothing", "module:attribute"),
        ("no.such.module:x", "no.such.module"),
        (f"{__name__}:missing", "has no 'missing' .*plain_handler"),
        (f"{__name__}:NOT_CALLABLE", "is an object of the type int"),
    ],
)
def test_load_error_names_the_handler_and_what_was_found(spec: str, says: str) -> None:
    """An error for a missing attribute lists the attributes of the module."""
    with pytest.raises(HandlerLoadError, match=says):
        load_handler(spec, {})


async def test_error_of_a_plain_handler_is_raised() -> None:
    """The exception leaves the thread unchanged."""

    def failing(_event: Event) -> None:
        raise LookupError("here")

    handler = LoadedHandler("x", failing)
    with pytest.raises(LookupError, match="here"):
        await handler.handle(event(1))
    await handler.aclose()


async def test_hanging_async_handler_is_cancelled() -> None:
    """The call raises TimeoutError, which counts as a dependency failure."""
    ended: list[str] = []

    async def hanging(_event: Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    handler = LoadedHandler("x", hanging, timeout_seconds=0.001)
    with pytest.raises(TimeoutError, match=r"longer than 0\.001 s") as caught:
        await handler.handle(event(1))
    assert ended == ["cancelled"]
    assert POLICY.classify(caught.value) is FailureKind.DEPENDENCY


async def test_timeout_error_of_the_handler_keeps_its_message() -> None:
    """The time limit's own message must not replace the handler's message."""

    async def failing(_event: Event) -> None:
        raise TimeoutError("the bank's")

    handler = LoadedHandler("x", failing, timeout_seconds=60)
    with pytest.raises(TimeoutError, match="the bank's"):
        await handler.handle(event(1))


async def test_overdue_plain_handler_is_awaited(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A thread cannot be interrupted, and a second call beside it would break the order."""
    release = threading.Event()

    def slow(each: Event) -> None:
        release.wait(10)
        seen.append(("slow", each.sequence_number))

    late: list[None] = []
    handler = LoadedHandler("my:slow", slow, timeout_seconds=0.001, late=lambda: late.append(None))
    call = asyncio.ensure_future(handler.handle(event(1)))
    async with asyncio.timeout(10):
        while caplog.text.count("still runs in a thread") < 2:
            await asyncio.sleep(0)
    assert "Handler my:slow, event 0/1: after" in caplog.text
    assert len(late) >= 2
    assert not call.done()
    release.set()
    await call
    assert seen == [("slow", 1)]
    await handler.aclose()


async def test_async_handler_that_swallows_its_cancellation_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log names the handler during and after the call, as its effect may be partial."""
    release = asyncio.Event()

    async def swallow_cancellation(_event: Event) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await release.wait()

    late: list[None] = []
    handler = LoadedHandler(
        "my:deaf", swallow_cancellation, timeout_seconds=0.001, late=lambda: late.append(None)
    )
    call = asyncio.ensure_future(handler.handle(event(1)))
    async with asyncio.timeout(10):
        while "was cancelled but still runs" not in caplog.text:
            await asyncio.sleep(0)
    assert not call.done()
    release.set()
    await call
    assert caplog.messages[0].startswith("Handler my:deaf, event 0/1: after")
    assert "the event counts as handled" in caplog.messages[-1]
    assert len(late) == len(caplog.messages)


async def test_awaitable_that_a_plain_wrapper_returns_is_awaited() -> None:
    """A plain callable that returns an awaitable has not yet handled the event."""

    def wrapper(each: Event) -> Awaitable[None]:
        return async_handler(each)

    handler = LoadedHandler("x", wrapper)
    await handler.handle(event(5))
    await handler.aclose()
    assert seen == [(threading.current_thread().name, 5)]


def wrap_plainly(
    function: Callable[[Event], Awaitable[None]],
) -> Callable[[Event], Awaitable[None]]:
    """Return a plain function around an async function, as a decorator may do."""
    return lambda each: function(each)  # noqa: PLW0108 - an async function is recognized as such


async def test_hanging_awaitable_of_a_plain_wrapper_is_cancelled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The call raises TimeoutError like an async handler, and no second call runs beside it."""
    ended: list[str] = []

    async def hanging(_event: Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    handler = LoadedHandler("x", wrap_plainly(hanging), timeout_seconds=0.001)
    with pytest.raises(TimeoutError, match=r"the handler took longer than 0\.001 s") as caught:
        async with asyncio.timeout(10):
            await handler.handle(event(1))
    assert ended == ["cancelled"]
    assert POLICY.classify(caught.value) is FailureKind.DEPENDENCY
    assert "was cancelled" not in caplog.text
    await handler.aclose()


async def test_awaitable_that_swallows_its_cancellation_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log line is that of an async handler and mentions no thread."""
    release = asyncio.Event()

    async def swallow_cancellation(_event: Event) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await release.wait()

    handler = LoadedHandler("my:deaf", wrap_plainly(swallow_cancellation), timeout_seconds=0.001)
    call = asyncio.ensure_future(handler.handle(event(1)))
    try:
        async with asyncio.timeout(10):
            while "was cancelled but still runs" not in caplog.text:
                await asyncio.sleep(0)
    finally:
        release.set()
    await call
    assert "Handler my:deaf, event 0/1: after" in caplog.text
    assert "the event counts as handled" in caplog.messages[-1]
    await handler.aclose()
