"""Results of handlers: an awaitable is awaited once, and undone work is found and named."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from types import CoroutineType

from processing.errors import FaultyHandlerError
from processing.handlers.forgotten import CREATED, close_unstarted, forgotten
from processing.handlers.raised import describe, type_name

logger = logging.getLogger(__name__)

ENDED_DEBUGGER = "called a debugger, which needs a terminal: use breakpoint() and a debug host"
PROBLEM_SECONDS = 900.0
"""Time for which health shows a faulty result; longer than the default pause of a kept event."""


class Results:
    """The results of one handler.

    Args:
        name: the handler's name.
        overdue: returns whether the current call has exceeded its time limit.
        faulty: called at each result that shows that work was not done.
        clock: measures elapsed seconds.

    Attributes:
        unstarted: why the handler has not started; "" if it has, or if nobody has tried.
        broken: why the started handler may not work any more; "" if nothing is known.
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
        self.unstarted = ""
        self.broken = ""

    @property
    def problem(self) -> str | None:
        """The reason why the handler does no work; None if there is none.

        The reason is a failed start, a failed task that it has begun, or the last faulty result and
        what was probably forgotten.
        """
        if self.unstarted:
            return f"{self.unstarted}; no event starts, and the next batch tries again"
        if self.broken:
            return self.broken
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
        if (what := forgotten(result)) is not None:
            close_unstarted(result)
            raise self._fault(what)
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

    def note(self, error: Exception) -> None:
        """Note an error that the handler raised and that shows that the handler is at fault.

        The errors of `settle` are noted already.
        """
        text = describe(error) if isinstance(error, FaultyHandlerError) else ENDED_DEBUGGER
        if not text.startswith(f"handler {self._name} "):
            self._set(text.removeprefix("the handler "))

    def _fault(self, what: str) -> FaultyHandlerError:
        self._set(f"returned {what}")
        return FaultyHandlerError(self._problem)

    def _set(self, deed: str) -> None:
        self._problem = f"handler {self._name} {deed}"
        self._problem_at = self._clock()
        self._faulty()


async def _once(result: Awaitable[object]) -> object:
    return await result


def _unusable(result: object) -> str | None:
    """Return why an awaitable cannot be awaited here."""
    if isinstance(result, CoroutineType) and inspect.getcoroutinestate(result) != CREATED:
        return "a coroutine that was awaited before: its own result is missing"
    if asyncio.isfuture(result) and result.get_loop() is not asyncio.get_running_loop():
        return "a future of another event loop: an await is missing there"
    return None


def close_lost(call: concurrent.futures.Future[object]) -> None:
    """Close what a call in a thread returned after its invocation was cancelled."""
    if not call.cancelled() and call.exception() is None:
        close_unstarted(call.result())
