"""Results of handlers: an awaitable is awaited once, and undone work is found and named."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import logging
import time
from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import BuiltinFunctionType, CoroutineType, FunctionType, MethodType
from typing import Any

from processing.errors import FaultyHandlerError
from processing.handlers.raised import type_name

logger = logging.getLogger(__name__)

CREATED = inspect.CORO_CREATED
PROBLEM_SECONDS = 900.0
"""Time for which health shows a faulty result; longer than the default pause of a kept event."""


@contextmanager
def _plain() -> Iterator[None]:
    yield


@asynccontextmanager
async def _asynchronous() -> AsyncIterator[None]:
    yield


_MANAGERS = type(_plain()), type(_asynchronous())
_FORGOTTEN: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (inspect.iscoroutine, "a coroutine: an await is missing"),
    (inspect.isgenerator, "a generator: nobody iterates over it, so its code never runs"),
    (inspect.isasyncgen, "an async generator: nobody iterates over it, so its code never runs"),
    (inspect.isawaitable, "an awaitable: an await is missing"),
    (lambda result: isinstance(result, concurrent.futures.Future), "a future: an await is missing"),
    (lambda result: isinstance(result, _MANAGERS), "a context manager: a `with` is missing"),
    (lambda result: isinstance(result, map | filter), "an iterator: nobody iterates over it"),
    (
        lambda result: (
            isinstance(result, functools.partial | FunctionType | MethodType)
            or type(result) is BuiltinFunctionType
        ),
        "a function: its call is missing",
    ),
    (lambda result: isinstance(result, BaseException), "an exception: a raise is missing"),
)


class Results:
    """The results of one handler.

    Args:
        name: the handler's name.
        overdue: returns whether the current call has exceeded its time limit.
        faulty: called at each result that shows that work was not done.
        clock: measures elapsed seconds.
    """

    def __init__(
        self,
        name: str,
        *,
        overdue: Callable[[], bool] = lambda: False,
        faulty: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._overdue = overdue
        self._faulty = faulty
        self._clock = clock
        self._problem = ""
        self._problem_at = 0.0
        self._logged = False

    @property
    def problem(self) -> str | None:
        """The last faulty result and what was probably forgotten; None if there was none lately."""
        recent = self._problem and self._clock() - self._problem_at < PROBLEM_SECONDS
        return f"{self._problem}; its events are kept until it is corrected" if recent else None

    async def settle(self, result: object) -> None:
        """Await a result that can be awaited, once; accept any other value.

        Raises:
            FaultyHandlerError: the result, or what was awaited, is work that nobody did.
            BaseException: the error of the awaited work.
        """
        if isinstance(result, concurrent.futures.Future):
            result = await self._of_thread(result)
        elif inspect.isawaitable(result):
            if unusable := _unusable(result):
                raise self._fault(unusable)
            result = await _once(result)
        if result is None:
            return
        if (forgotten := _forgotten(result)) is not None:
            _close(result)
            raise self._fault(forgotten)
        if not self._logged:
            self._logged = True
            logger.warning(
                "Handler %s returned a value of type %s; its events are handled, and the values "
                "that it returns are ignored",
                *(self._name, type_name(result)),
            )

    async def _of_thread(self, future: concurrent.futures.Future[object]) -> object:
        """Wait for work in a thread.

        An overdue call waits for its end: a second call beside it would break the order of events.
        """
        try:
            return await asyncio.wrap_future(future)
        except CancelledError:
            if future.cancel() or not self._overdue():
                raise
            await asyncio.wait({asyncio.wrap_future(future)})
            return future.result()

    def _fault(self, what: str) -> FaultyHandlerError:
        self._problem = f"handler {self._name} returned {what}"
        self._problem_at = self._clock()
        self._faulty()
        return FaultyHandlerError(self._problem)


async def _once(result: Awaitable[object]) -> object:
    return await result


def _unusable(result: object) -> str | None:
    """Return why an awaitable cannot be awaited here."""
    if isinstance(result, CoroutineType) and inspect.getcoroutinestate(result) != CREATED:
        return "a coroutine that was awaited before: its own result is missing"
    if asyncio.isfuture(result) and result.get_loop() is not asyncio.get_running_loop():
        return "a future of another event loop: an await is missing there"
    return None


def _forgotten(result: object) -> str | None:
    """Return what a handler forgot that returns this, or None if it may have done its work."""
    for matches, forgotten in _FORGOTTEN:
        if matches(result):
            return forgotten
    if isinstance(result, list | tuple | set) and any(map(_is_unawaited, result)):
        return f"a {type(result).__name__} of awaitables: an await or asyncio.gather is missing"
    return None


def _is_unawaited(result: object) -> bool:
    if isinstance(result, concurrent.futures.Future) or asyncio.isfuture(result):
        return not result.done()
    return inspect.isawaitable(result)


def _close(result: object) -> None:
    """Close coroutines that never started, so that Python does not warn about them."""
    for each in result if isinstance(result, list | tuple | set) else (result,):
        if isinstance(each, CoroutineType) and inspect.getcoroutinestate(each) == CREATED:
            each.close()


def close_lost(call: concurrent.futures.Future[object]) -> None:
    """Close what a call in a thread returned after its invocation was cancelled."""
    if not call.cancelled() and call.exception() is None:
        _close(call.result())
