"""`run`, `run_async` and `TestApp`: the app in a test, with an event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from processing.event import Event
from processing.testing.app import AsyncTestApp
from processing.testing.outcome import Outcome


class TestApp:
    """The app in a test that is no coroutine; the same as `AsyncTestApp`, with a loop of its own.

    Use it as a context manager. Its runs share the stores, the circuits and the handler.

    >>> from breakwater.testing import event
    >>> def handle(event):
    ...     raise ValueError(event.text())
    >>> with TestApp(handle, settings={"BREAKER_FAILURE_THRESHOLD": 1}) as app:
    ...     outcome = app.run([event("a"), event("b")])
    ...     print(outcome.circuit, [each.text() for each in outcome.kept])
    ...     app.approve()
    ...     print([each.text() for each in app.run().poisoned])
    open ['b']
    ['b']

    Args:
        handler: see `AsyncTestApp`.
        settings: see `AsyncTestApp`.
        pipeline: see `AsyncTestApp`.

    Raises:
        PipelineError: see `AsyncTestApp`.
        RuntimeError: an event loop runs in this thread already.
    """

    __test__ = False  # pytest must not take the class for a test

    def __init__(
        self,
        handler: object,
        *,
        settings: Mapping[str, object] | None = None,
        pipeline: str | None = None,
    ) -> None:
        self._app = AsyncTestApp(handler, settings=settings, pipeline=pipeline)
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> Self:
        _check_no_loop("TestApp", "async with AsyncTestApp(...)")
        self._runner = asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)
        try:
            self._runner.run(self._app.__aenter__())
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        runner = self._running()
        try:
            runner.run(self._app.__aexit__(kind, error, trace))
        finally:
            self._runner = None
            runner.close()

    def run(
        self,
        events: Iterable[Event] = (),
        *,
        batch_size: int | None = None,
        seconds: float = 0.0,
        crash_after: Event | None = None,
    ) -> Outcome:
        """Deliver events to the app, and return what became of them; see `AsyncTestApp.run`."""
        runner = self._running()
        return runner.run(
            self._app.run(events, batch_size=batch_size, seconds=seconds, crash_after=crash_after)
        )

    def approve(self, dependency: str = "") -> None:
        """Approve the opening of a circuit; see `AsyncTestApp.approve`."""
        runner = self._running()
        runner.run(self._app.approve(dependency))

    def _running(self) -> asyncio.Runner:
        if self._runner is None:
            raise RuntimeError("the test app is not open; use it in a `with` block")
        return self._runner


def run(
    handler: object,
    events: Iterable[Event],
    *,
    settings: Mapping[str, object] | None = None,
    pipeline: str | None = None,
    batch_size: int | None = None,
    seconds: float = 0.0,
    crash_after: Event | None = None,
) -> Outcome:
    """Run a handler on events, in a new app, and return what became of them.

    >>> from breakwater.testing import event
    >>> def handle(event):
    ...     print(event.text())
    >>> run(handle, [event("first", key="k"), event("second", key="k")]).check()
    first
    second

    Args:
        handler: see `AsyncTestApp`.
        events: see `AsyncTestApp.run`.
        settings: see `AsyncTestApp`.
        pipeline: see `AsyncTestApp`.
        batch_size: see `AsyncTestApp.run`.
        seconds: see `AsyncTestApp.run`.
        crash_after: see `AsyncTestApp.run`.

    Raises:
        HandlerLoadError: the handler cannot be called with an event.
        SettingsError, breaker.SettingsError: a setting is unknown or out of bounds.
        TypeError, ValueError: an argument is not accepted.
        RuntimeError: an event loop runs in this thread: use `run_async`; or `crash_after` was not
            handled.
    """
    _check_no_loop("run()", "await run_async(...)")
    with TestApp(handler, settings=settings, pipeline=pipeline) as app:
        return app.run(events, batch_size=batch_size, seconds=seconds, crash_after=crash_after)


async def run_async(
    handler: object,
    events: Iterable[Event],
    *,
    settings: Mapping[str, object] | None = None,
    pipeline: str | None = None,
    batch_size: int | None = None,
    seconds: float = 0.0,
    crash_after: Event | None = None,
) -> Outcome:
    """Run a handler on events as `run` does, but on the running event loop.

    >>> from breakwater.testing import event
    >>> async def handle(event):
    ...     print(event.text())
    >>> async def test_handler():
    ...     (await run_async(handle, [event("x")])).check()
    >>> asyncio.run(test_handler())
    x

    Args:
        handler: see `AsyncTestApp`.
        events: see `AsyncTestApp.run`.
        settings: see `AsyncTestApp`.
        pipeline: see `AsyncTestApp`.
        batch_size: see `AsyncTestApp.run`.
        seconds: see `AsyncTestApp.run`.
        crash_after: see `AsyncTestApp.run`.

    Raises:
        HandlerLoadError, SettingsError, breaker.SettingsError, ValueError, RuntimeError: see `run`.
    """
    async with AsyncTestApp(handler, settings=settings, pipeline=pipeline) as app:
        return await app.run(
            events, batch_size=batch_size, seconds=seconds, crash_after=crash_after
        )


def _check_no_loop(name: str, instead: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        f"{name} cannot be used while an event loop runs in this thread; use {instead}"
    )
