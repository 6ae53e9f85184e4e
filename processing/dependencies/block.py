"""`dependency`: the block in a handler around the calls that need a dependency."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from processing.dependencies.outages import OUTAGES
from processing.dependencies.scope import Scope, current_scope
from processing.errors import FaultyHandlerError

if TYPE_CHECKING:
    from breaker import CircuitBreaker

ANSWER_SECONDS = 120.0
"""Longest time for which a handler in a thread waits for its block; a store outage is shorter."""


class Block:
    """A block of a handler that needs a dependency; used for one `with` or `async with`.

    Args:
        name: the name of the dependency, in lower case.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._used = False
        self._scope: Scope | None = None
        self._circuit: CircuitBreaker | None = None
        self._began = 0.0

    async def __aenter__(self) -> None:
        if (scope := self._begin()) is None:
            return
        if asyncio.get_running_loop() is scope.loop:
            if (circuit := scope.admitting(self._name)) is not None:
                scope.begin(self._name, circuit)
            else:
                circuit = await scope.enter(self._name)
            self._circuit = circuit
        else:  # a plain handler that runs an event loop of its own
            entering = asyncio.run_coroutine_threadsafe(scope.enter(self._name), scope.loop)
            self._circuit = await asyncio.wrap_future(entering)
        self._began = time.monotonic()
        if OUTAGES and (error := self._declared_error(scope)) is not None:
            await self.__aexit__(type(error), error, None)
            raise error

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        scope, circuit = self._scope, self._circuit
        if scope is None or circuit is None:
            return
        seconds = time.monotonic() - self._began
        if asyncio.get_running_loop() is not scope.loop:
            self._leave_from_thread(scope, circuit, seconds, error)
            return
        if error is not None:
            scope.leave(self._name, circuit, seconds, error)
        else:
            await scope.succeed(self._name, circuit, seconds)

    def __enter__(self) -> None:
        if (scope := self._begin()) is None:
            return
        if _running_loop() is scope.loop:
            raise FaultyHandlerError(
                f"`with dependency({self._name!r})` runs on the event loop, where it must not "
                f"wait; write `async with dependency({self._name!r})`"
            )
        if (circuit := scope.admitting(self._name)) is not None:
            scope.loop.call_soon_threadsafe(scope.begin, self._name, circuit)
        else:
            circuit = _answer(scope.enter(self._name), scope.loop)
        self._circuit = circuit
        self._began = time.monotonic()
        if OUTAGES and (error := self._declared_error(scope)) is not None:
            self.__exit__(type(error), error, None)
            raise error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._scope is None or self._circuit is None:
            return
        seconds = time.monotonic() - self._began
        self._leave_from_thread(self._scope, self._circuit, seconds, error)

    def _begin(self) -> Scope | None:
        if self._used:
            raise FaultyHandlerError(
                f"a block of dependency {self._name!r} is entered for the second time; call "
                "dependency(...) for each block"
            )
        self._used = True
        self._scope = current_scope()
        if OUTAGES and self._scope is None and (error := self._declared_error(None)) is not None:
            raise error
        return self._scope

    def _declared_error(self, scope: Scope | None) -> Exception | None:
        """Return the error of a call during an outage that a test has declared."""
        outage = OUTAGES.get(self._name)
        if outage is None:
            return None
        return outage.fail(time.monotonic() if scope is None else scope.loop.time())

    def _leave_from_thread(
        self, scope: Scope, circuit: CircuitBreaker, seconds: float, error: BaseException | None
    ) -> None:
        """End the block on the scope's loop, before the loop learns that the handler has ended."""
        if error is None and scope.is_probe:
            _answer(scope.succeed(self._name, circuit, seconds), scope.loop)
            return
        with suppress(RuntimeError):  # the loop is closed: nobody waits for the event any more
            scope.loop.call_soon_threadsafe(scope.leave, self._name, circuit, seconds, error)


def dependency(name: str) -> Block:
    """Return the block around the calls that need a dependency.

    In an async handler the block is `async with dependency("bank"):`. In a plain handler, which
    runs in a thread, the block is `with dependency("bank"):`.

    While the dependency's circuit is not closed, the block raises `DependencyRefusedError` without
    running, and the event's key is deferred. An error that leaves the block and means that a
    dependency is down counts for this dependency's circuit. Leaving the block without an error is
    the dependency's success.

    Outside of an event, for example in a unit test of a handler, the block does nothing.

    Args:
        name: 1 to 32 letters, digits, `-`, `_` or `.`; compared in lower case. The failures of any
            other name count for the app's circuit.

    Raises:
        FaultyHandlerError: the name is no text; the handler must be corrected, and its events are
            kept.

    Example:
        >>> from breakwater import Event, dependency
        >>> from breakwater.testing import downstream_down, event, run
        >>> async def handle(event: Event) -> None:
        ...     async with dependency("bank"):
        ...         print("charged", event.key)
        >>> order = event({"amount": 3}, key="alice")
        >>> run(handle, [order]).handled == [order]
        charged alice
        True
        >>> with downstream_down("bank"):
        ...     run(handle, [order]).deferred == [order]
        True
    """
    if not isinstance(name, str):
        raise FaultyHandlerError(
            f"dependency() takes the name of a dependency as text, not {type(name).__name__}"
        )
    return Block(name.lower())


def _running_loop() -> asyncio.AbstractEventLoop | None:
    with suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


def _answer[T](call: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Return the result of a coroutine on another thread's loop.

    Raises:
        TimeoutError: the loop has stopped, or the store does not answer.
    """
    future = asyncio.run_coroutine_threadsafe(call, loop)
    try:
        return future.result(ANSWER_SECONDS)
    finally:
        future.cancel()
