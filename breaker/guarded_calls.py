"""The methods of a circuit breaker that protect calls, and its start without an event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from types import TracebackType
from typing import Any, Protocol, Self, overload

from breaker.errors import MisuseError
from breaker.guard import Failures, Guard, Guarding, Started, loop_of_another_thread
from breaker.loop_thread import LoopThread, wait_for


class Decorator(Protocol):
    """A decorator of functions and coroutine functions, which keeps their signature."""

    def __call__[**Args, Result](
        self, function: Callable[Args, Result], /
    ) -> Callable[Args, Result]:
        """Return the protected function."""
        ...


class GuardedCalls:
    """The methods of a circuit breaker that protect calls.

    Attributes:
        loop: the event loop that the started breaker runs on; else None.
        pid: the process of the start.
    """

    loop: asyncio.AbstractEventLoop | None = None
    pid: int = 0
    _thread: LoopThread | None = None

    def guard(self: Guarding, *, failures: Failures = Exception, key: str | None = None) -> Guard:
        """Return a block for one call; see `Guard`.

        Raises:
            MisuseError: `failures` is neither an error class nor a tuple of error classes.
        """
        return Guard(self, failures, key)

    @overload
    def protect[**Args, Result](
        self: Guarding, function: Callable[Args, Result], /
    ) -> Callable[Args, Result]: ...

    @overload
    def protect(self: Guarding, /, *, failures: Failures = ...) -> Decorator: ...

    def protect(
        self: Guarding,
        function: Callable[..., Any] | None = None,
        /,
        *,
        failures: Failures = Exception,
    ) -> Any:
        """Protect each call of a function: `@breaker.protect`, `@breaker.protect(failures=…)`.

        The calls of a coroutine function are as `async with breaker.guard()`, those of a plain
        function as `with breaker.guard()`.

        Raises:
            MisuseError: the object is no function, is a generator, or `failures` is not usable.
        """
        Guard(self, failures)

        def decorate(decorated: Callable[..., Any]) -> Callable[..., Any]:
            return _protected(lambda: Guard(self, failures), decorated)

        return decorate if function is None else decorate(function)

    def run[Result](self: Started, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a method of the started breaker from a thread without an event loop.

        For example `breaker.run(breaker.approve(1, by="ann"))`.

        Raises:
            MisuseError: the breaker was not started, or the thread runs an event loop.
        """
        try:
            loop = loop_of_another_thread(self)
        except MisuseError:
            work.close()
            raise
        return wait_for(loop, work)

    def __enter__(self) -> Self:
        """Start the breaker on an event loop in a thread of its own."""
        if self._thread is not None or self.loop is not None:
            raise MisuseError(
                "the circuit breaker was started already"
                if self.loop is None or not self.loop.is_closed()
                else "the event loop of the circuit breaker has ended without `aclose`; create a "
                "new breaker"
            )
        self._thread = LoopThread("breaker")
        try:
            self._thread.run(self.start())
        except BaseException:
            self._close_thread()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._thread is not None  # noqa: S101 - set on entering
        try:
            self._thread.run(self.aclose())
        finally:
            self._close_thread()

    async def start(self) -> None:
        """Start watching the circuit."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Stop watching the circuit, and close connections."""
        raise NotImplementedError

    def _close_thread(self) -> None:
        thread, self._thread = self._thread, None
        self.loop = None
        if thread is not None:
            thread.close()


def _protected(guard: Callable[[], Guard], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose calls run inside a guard each."""
    if inspect.isclass(function) or not callable(function):
        raise MisuseError(
            f"protect() got {function!r:.100}: it takes a function; "
            "name error classes as protect(failures=...)"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        # The call of a generator returns before its work begins, so each call would succeed.
        raise MisuseError(
            f"protect() got the generator {function.__qualname__}: it takes a function or a "
            "coroutine function; use `guard()` inside the generator"
        )
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        type(function).__call__  # of an object that is called as a function
    ):

        @wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            async with guard():
                return await function(*args, **kwargs)

        return call_async

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with guard():
            result = function(*args, **kwargs)
            if inspect.isawaitable(result):
                if inspect.iscoroutine(result):
                    result.close()
                raise MisuseError(
                    f"the protected function {_name(function)} returned an awaitable, whose "
                    "outcome is not known yet; protect a coroutine function (`async def`)"
                )
            return result

    return call


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", function))
