"""Loading and calling handlers of every form."""

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
def _forget() -> None:
    seen.clear()


async def test_async_function() -> None:
    """An async function runs on the loop's thread."""
    handler = load_handler(f"{__name__}:async_handler", {})
    await handler.handle(event(1))
    await handler.aclose()
    assert seen == [(threading.current_thread().name, 1)]


async def test_plain_function() -> None:
    """A plain function runs in a thread, so that it may block."""
    handler = load_handler(f"{__name__}:plain_handler", {})
    await handler.handle(event(1))
    await handler.aclose()
    assert seen[0][0].startswith("handler")


async def test_class_with_settings() -> None:
    """A class is made from the app settings and closed in the end."""
    handler = load_handler(f"{__name__}:Configured", {"NAME": "it"})
    await handler.handle(event(2))
    await handler.aclose()
    assert seen == [("it", 2)]
    assert Configured.closed


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nothing", "module:attribute"),
        ("no.such.module:x", "no.such.module"),
        (f"{__name__}:missing", "has no missing .*plain_handler"),
        (f"{__name__}:NOT_CALLABLE", "is a int"),
    ],
)
def test_errors_say_what_was_tried(spec: str, says: str) -> None:
    """A handler that can't be loaded is named, with what was found instead."""
    with pytest.raises(HandlerLoadError, match=says):
        load_handler(spec, {})


async def test_plain_errors_arrive() -> None:
    """What a plain handler raises reaches the caller."""

    def failing(_event: Event) -> None:
        raise LookupError("here")

    handler = LoadedHandler("x", failing)
    with pytest.raises(LookupError, match="here"):
        await handler.handle(event(1))
    await handler.aclose()


async def test_an_async_handler_that_hangs_is_cancelled() -> None:
    """It has failed with TimeoutError, which counts as a dependency that is down."""
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


async def test_a_handlers_own_timeout_stays_its_own() -> None:
    """What the handler raises itself is not dressed up as ours."""

    async def failing(_event: Event) -> None:
        raise TimeoutError("the bank's")

    handler = LoadedHandler("x", failing, timeout_seconds=60)
    with pytest.raises(TimeoutError, match="the bank's"):
        await handler.handle(event(1))


async def test_a_plain_handler_that_takes_long_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A thread can't be interrupted, and a second call beside it would break the order."""
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


async def test_an_async_handler_that_swallows_its_cancellation_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While it goes on, and when it ends as if nothing had been: its effect may be half done."""
    release = asyncio.Event()

    async def deaf(_event: Event) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await release.wait()

    late: list[None] = []
    handler = LoadedHandler("my:deaf", deaf, timeout_seconds=0.001, late=lambda: late.append(None))
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


async def test_a_plain_wrapper_around_an_async_handler() -> None:
    """What a plain callable returns is awaited if it can be, not dropped."""

    def wrapper(each: Event) -> Awaitable[None]:
        return async_handler(each)

    handler = LoadedHandler("x", wrapper)
    await handler.handle(event(5))
    await handler.aclose()
    assert seen == [(threading.current_thread().name, 5)]


def plain(function: Callable[[Event], Awaitable[None]]) -> Callable[[Event], Awaitable[None]]:
    """What looks like a plain function from outside, as a decorator may leave it."""
    return lambda each: function(each)  # noqa: PLW0108 - the function itself does not look so


async def test_what_a_plain_wrapper_returns_is_cancelled_when_it_hangs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is no thread: as an async handler it fails with TimeoutError, and no second call begins
    beside it.
    """
    ended: list[str] = []

    async def hanging(_event: Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    handler = LoadedHandler("x", plain(hanging), timeout_seconds=0.001)
    with pytest.raises(TimeoutError, match=r"the handler took longer than 0\.001 s") as caught:
        async with asyncio.timeout(10):
            await handler.handle(event(1))
    assert ended == ["cancelled"]
    assert POLICY.classify(caught.value) is FailureKind.DEPENDENCY
    assert "was cancelled" not in caplog.text
    await handler.aclose()


async def test_what_a_plain_wrapper_returns_is_named_if_it_swallows_its_cancellation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As an async handler is; the log speaks of no thread."""
    release = asyncio.Event()

    async def deaf(_event: Event) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await release.wait()

    handler = LoadedHandler("my:deaf", plain(deaf), timeout_seconds=0.001)
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
