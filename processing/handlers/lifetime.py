"""The lifetime of a handler with state: built, started and closed in one task, each once.

One task does all three, because a pool or a task group of anyio must be closed by the task that
opened it. The pattern is the lifespan of ASGI servers.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from asyncio.tasks import _unregister_task
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from processing.errors import HandlerLoadError, HandlerStartError
from processing.handlers.raised import NotStartedError, as_failure, describe, type_name

logger = logging.getLogger(__name__)

START_SECONDS = 60.0
"""Time limit of `start`, unless the time limit of one call is longer."""
CLOSE_SECONDS = 10.0
"""Time limit of `aclose`; platforms give a stopping process little time."""


async def _nothing() -> None:
    return


class Lifetime:
    """The lifetime of one handler; a failed start closes the object, and the next builds another.

    Args:
        name: the handler's name, in errors and logs.
        build: returns the handler object; may raise.
        text: returns the type and the text of an error of the start.
        start_seconds: time limit of `start`; 0: no limit.
        close_seconds: time limit of `aclose`; 0: no limit.

    Attributes:
        loop_ends: awaited before `aclose` when the event loop ends without a call of `aclose`; it
            stops the start of events, and waits until the last one has ended.
        broken: called with the reason if the task of a started handler is cancelled.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[], Any],
        *,
        text: Callable[[BaseException], str],
        start_seconds: float = START_SECONDS,
        close_seconds: float = CLOSE_SECONDS,
    ) -> None:
        self._name = name
        self._build = build
        self._text = text
        self._limits = start_seconds, close_seconds
        self._attempt: _Attempt | None = None
        self._closed = False
        self.loop_ends: Callable[[], Awaitable[None]] = _nothing
        self.broken: Callable[[str], None] = lambda _reason: None

    async def start(self) -> Any:
        """Build and start the handler, and return it; concurrent calls share one attempt.

        Raises:
            HandlerStartError: the handler could not be built or started. It is closed, and the next
                call builds a new one; while a plain `start` still runs, further calls fail alike.
            NotStartedError: the handler is closed.
        """
        if self._closed:
            raise NotStartedError(f"handler {self._name} is closed")
        if self._attempt is None or self._attempt.ended:
            self._attempt = _Attempt(
                *(self._name, self._build, self._limits, self._end),
                text=self._text,
                broken=self.broken,
            )
        attempt = self._attempt
        await asyncio.wait({attempt.started})
        handler = attempt.started.result()
        if self._closed:  # during the wait
            raise NotStartedError(f"handler {self._name} is closed")
        return handler

    async def aclose(self) -> None:
        """Close the handler if it was built; further calls wait for the end of the first."""
        self._closed = True
        if self._attempt is not None:
            await self._attempt.aclose()

    async def _end(self) -> None:
        self._closed = True
        await self.loop_ends()


class _Attempt:
    """One handler object, from its construction to the end of its `aclose`.

    The task that lives as long as the handler is hidden from the loop's end: `asyncio.run` cancels
    all tasks when it ends, and would interrupt a running `aclose`. A second task, the guard, is not
    hidden, and makes the loop wait for the first one.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[], Any],
        limits: tuple[float, float],
        loop_ends: Callable[[], Awaitable[None]],
        *,
        text: Callable[[BaseException], str],
        broken: Callable[[str], None],
    ) -> None:
        self._name = name
        self._build = build
        self._start_seconds, self._close_seconds = limits
        self._loop_ends = loop_ends
        self._text = text
        self._broken = broken
        self._stop = asyncio.Event()
        self._handler: Any = None
        self._starting = True
        self._thread: asyncio.Future[object] | None = None  # of a plain `start`
        self.started: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._life = _hidden_task(self._live())
        self._guard = asyncio.create_task(self._wait(), name="handler-guard")

    @property
    def ended(self) -> bool:
        """Return whether the handler is closed, or was never built."""
        return self._life.done()

    async def aclose(self) -> None:
        """Interrupt a start that is in progress, close the handler, and wait for the end."""
        self._stop.set()
        if self._starting:
            self._starting = False  # a second cancellation would interrupt the close
            self._life.cancel()
        await self._ended()

    async def _ended(self) -> None:
        while not self._life.done():  # a cancelled life has a successor
            await asyncio.wait({self._life})

    async def _wait(self) -> None:
        """Wait for the end of the lifetime; if the loop ends first, close the handler."""
        try:
            await self._ended()
        except asyncio.CancelledError:
            if self.started.done() and not self._stop.is_set():
                with suppress(Exception):
                    await self._loop_ends()
            await self.aclose()

    async def _live(self) -> None:
        try:
            await self._begin()
        except BaseException as error:
            self._starting = False
            failure = self._failure(error)
            if self._thread is None:  # the start of routes runs the plain starts itself
                self._thread = getattr(self._handler, "unfinished_start", None)
            if self._thread is None or self._thread.done():
                await self._close()
                self._fail(failure)
            else:
                self._fail(failure)
                if await self._thread_ends():
                    await self._close()
            return
        self._starting = False
        self.started.set_result(self._handler)
        try:
            await self._stop.wait()
        except asyncio.CancelledError:
            self._note_cancelled()
            # A scope of anyio cancels its task again and again, so another task waits.
            self._life = _hidden_task(self._close_later())
            return
        await self._close()

    async def _close_later(self) -> None:
        await self._stop.wait()
        await self._close()

    def _note_cancelled(self) -> None:
        reason = (
            f"the task that started handler {self._name} was cancelled, probably because a task "
            "failed in a task group that start entered; events go on, and aclose is called when "
            "the instance stops: restart it"
        )
        logger.error("%s", reason)
        self._broken(reason)

    def _fail(self, failure: Exception) -> None:
        self.started.set_exception(failure)
        self.started.exception()  # a caller that was cancelled does not read it

    async def _thread_ends(self) -> bool:
        """Wait for the end of an interrupted start, so that `aclose` does not run beside it.

        A thread cannot be interrupted. If the process ends, the wait has the limit of `aclose`.
        """
        assert self._thread is not None  # noqa: S101 - a plain start was interrupted
        thread, stop = self._thread, asyncio.ensure_future(self._stop.wait())
        either: set[asyncio.Future[Any]] = {thread, stop}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not (await asyncio.wait({thread}, timeout=self._close_seconds or None))[0]:
            logger.error(
                "Handler %s: start still runs in its thread after %g s, so aclose is not called; "
                "what it holds stays open until the process ends",
                *(self._name, self._close_seconds),
            )
            return False
        thread.exception()  # the failure names the interruption
        return True

    async def _begin(self) -> None:
        self._handler = self._build()
        start = getattr(self._handler, "start", None)
        if start is None:
            return
        limit = asyncio.timeout(self._start_seconds or None)
        try:
            async with limit:
                if inspect.iscoroutinefunction(start):
                    await start()
                else:
                    self._thread = in_thread(start)
                    await awaited(await asyncio.shield(self._thread))
        except TimeoutError as error:
            if not limit.expired():
                raise
            text = f"start took longer than {self._start_seconds:g} s"
            if self._thread is not None and not self._thread.done():
                text += ", and still runs in its thread"
            raise HandlerStartError(f"handler {self._name} did not start: {text}") from error

    def _failure(self, error: BaseException) -> Exception:
        if self._stop.is_set():
            return NotStartedError(f"handler {self._name} was closed during its start")
        if isinstance(error, HandlerLoadError):
            return error
        raised = as_failure(error)
        failure = HandlerStartError(
            f"handler {self._name} did not start: start raised {self._text(raised)}"
        )
        failure.__cause__ = raised
        return failure

    async def _close(self) -> None:
        close = getattr(self._handler, "aclose", None)
        if close is None:
            return
        limit = asyncio.timeout(self._close_seconds or None)
        try:
            async with limit:
                await call_method(close)
        except BaseException as error:
            what = f"raised {type_name(error)}: {describe(error)}"
            if limit.expired():
                what = f"took longer than {self._close_seconds:g} s"
            logger.error(  # noqa: TRY400 - the process ends, and the text names the cause
                "Handler %s: aclose %s; what it holds may stay open until the process ends",
                *(self._name, what),
            )


def _hidden_task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(work, name="handler-lifetime")
    _unregister_task(task)
    return task


async def call_method(method: Callable[[], object]) -> None:
    """Call an async method, or a plain one in a thread."""
    if inspect.iscoroutinefunction(method):
        await method()
    else:
        await awaited(await in_thread(method))


def in_thread(method: Callable[[], object]) -> asyncio.Future[object]:
    """Call a plain method in a thread."""
    # No task, which the end of the event loop would cancel.
    return asyncio.get_running_loop().run_in_executor(None, copy_context().run, method)


async def awaited(result: object) -> None:
    """Await what a plain method returned, if it can be awaited."""
    if inspect.isawaitable(result):
        await result
