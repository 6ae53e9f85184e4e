"""Blocks around calls that a circuit protects, with and without an event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import secrets
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from breaker.errors import CircuitOpenError, MisuseError, StoreUnavailableError
from breaker.keys import Key
from breaker.loop_thread import wait_for
from breaker.state import Circuit, Permit

if TYPE_CHECKING:
    from breaker.settings import BreakerSettings

type Failures = type[Exception] | tuple[type[Exception], ...]
"""The errors that count as failures of a call."""

_ANY_CALL = Key("calls", several=True)
"""The key of calls without a key; many failed calls are no failure of one key alone."""


class Started(Protocol):
    """The name of a circuit breaker, and where it was started: its event loop and its process."""

    loop: asyncio.AbstractEventLoop | None
    pid: int

    @property
    def name(self) -> str:
        """The circuit's name."""


class Guarding(Started, Protocol):
    """The part of a circuit breaker that a guard uses."""

    circuit: Circuit
    instance: str
    settings: BreakerSettings

    @property
    def note_success(self) -> Callable[[float], None]:
        """See `CircuitBreaker`, also for the methods below."""

    def note_failed_attempt(self, key: Key, error: str = "") -> None:
        """See `CircuitBreaker`."""

    def enter(self, key: Key) -> None:
        """See `CircuitBreaker`."""

    def leave(self, key: Key) -> None:
        """See `CircuitBreaker`."""

    async def try_acquire(self, key: Key | None = None) -> Permit:
        """See `CircuitBreaker`."""
        ...

    async def record_failure(self, failure_id: str, error: str, permit: Permit) -> Circuit:
        """See `CircuitBreaker`."""
        ...

    async def record_successes(self, count: int, permit: Permit) -> Circuit:
        """See `CircuitBreaker`."""
        ...

    async def release(self, permit: Permit) -> None:
        """See `CircuitBreaker`."""


class Guard:
    """A block around one call: `async with breaker.guard():` or `with breaker.guard():`.

    Entering raises `CircuitOpenError` while nothing may start. A block that ends without an error
    is a success. An error of `failures` that leaves the block is a failure, and is raised again
    after it has been recorded. Any other error, a cancellation and the refusal by another circuit
    say nothing about the call, so they count as neither.

    `with` waits, so it is for threads that run no event loop. It needs a breaker that was started,
    by `with breaker:` or by `async with breaker:` in another thread.

    Args:
        breaker: the circuit breaker.
        failures: the errors that count.
        key: what the call is for, such as a customer. While calls for other keys run, failures of
            one key alone do not meet the standstill rule. None: the calls are for many keys.

    Raises:
        MisuseError: `failures` is neither an error class nor a tuple of error classes.
    """

    def __init__(
        self, breaker: Guarding, failures: Failures = Exception, key: str | None = None
    ) -> None:
        classes = failures if isinstance(failures, tuple) else (failures,)
        if not classes or not all(
            isinstance(each, type) and issubclass(each, Exception) for each in classes
        ):
            raise MisuseError(
                f"failures is {failures!r:.100}: it takes an Exception class or a tuple of them"
            )
        self._breaker = breaker
        self._failures = failures
        self._key = None if key is None else Key(key)
        self._noted = self._key or _ANY_CALL
        self._permit: Permit | None = None
        self._began = 0.0

    async def __aenter__(self) -> None:
        self._refuse_reuse()
        await _on(self._breaker, self._enter)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds = time.monotonic() - self._began
        try:
            await _on(self._breaker, lambda: self._leave(seconds, error))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Another thread has closed the breaker; the call keeps its own outcome.

    def __enter__(self) -> None:
        self._refuse_reuse()
        loop, circuit = loop_of_another_thread(self._breaker), self._breaker.circuit
        if circuit.admits:  # the thread need not wait for the loop
            self._permit = Permit(circuit.generation)
            loop.call_soon_threadsafe(self._breaker.enter, self._noted)
            self._began = time.monotonic()
        else:
            wait_for(loop, self._enter())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds, loop = time.monotonic() - self._began, self._breaker.loop
        if loop is None or loop.is_closed():  # the breaker was closed during the call
            return
        if error is None and not self._must_record():
            loop.call_soon_threadsafe(self._note_success, seconds)
        else:
            # If another thread closes the breaker, the call keeps its own outcome.
            with suppress(concurrent.futures.CancelledError):
                wait_for(loop, self._leave(seconds, error))

    async def _enter(self) -> None:
        self._permit = await self._breaker.try_acquire(self._key)
        self._breaker.enter(self._noted)
        self._began = time.monotonic()

    def _must_record(self) -> bool:
        """Return whether a success must be recorded in the store."""
        probing = self._permit is not None and self._permit.probe_id is not None
        return probing or self._breaker.settings.failure_ratio is not None

    def _note_success(self, seconds: float) -> None:
        self._breaker.leave(self._noted)
        self._breaker.note_success(seconds)

    async def _leave(self, seconds: float, error: BaseException | None) -> None:
        breaker, permit = self._breaker, self._permit
        assert permit is not None  # noqa: S101 - set on entering
        if error is None:
            self._note_success(seconds)
            if self._must_record():
                with suppress(StoreUnavailableError):  # a probe's lease expires
                    await breaker.record_successes(1, permit)
            return
        breaker.leave(self._noted)
        counts = isinstance(error, self._failures)
        if counts and not isinstance(error, CircuitOpenError | MisuseError):
            text = str(error) or type(error).__name__
            breaker.note_failed_attempt(self._noted, text)
            await breaker.record_failure(f"{breaker.instance}/{secrets.token_hex(8)}", text, permit)
            return
        with suppress(StoreUnavailableError):
            await breaker.release(permit)

    def _refuse_reuse(self) -> None:
        if self._permit is not None:
            raise MisuseError(
                f"a guard of circuit {self._breaker.name!r} was entered twice; call guard() for "
                "each block"
            )


def loop_of_another_thread(breaker: Started) -> asyncio.AbstractEventLoop:
    """Return the breaker's loop, if the calling thread may wait for it.

    Raises:
        MisuseError: the breaker was not started, or in another process, or the thread runs an event
            loop.
    """
    if _running_loop() is not None:
        raise MisuseError(
            f"a plain call or `with` on circuit {breaker.name!r} would block this thread's event "
            "loop; use `async with breaker.guard():`, or protect a coroutine function"
        )
    loop = _usable_loop(breaker)
    if loop is None:
        raise MisuseError(
            f"circuit {breaker.name!r} was not started, or its event loop has ended; call inside "
            "`with breaker:`, or inside `async with breaker:` of another thread"
        )
    return loop


async def _on(breaker: Started, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function on the breaker's loop, or here if the breaker has none.

    Raises:
        MisuseError: the breaker was started in another process.
    """
    loop = _usable_loop(breaker)
    if loop is None or loop is asyncio.get_running_loop():
        await work()
    else:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), loop))


def _usable_loop(breaker: Started) -> asyncio.AbstractEventLoop | None:
    """Return the loop that the breaker was started on; None if there is none, or it has ended."""
    loop = breaker.loop
    if loop is None or loop.is_closed():  # nothing to wait for
        return None
    if breaker.pid != os.getpid():  # nothing runs on the loop, so the call would wait forever
        raise MisuseError(
            f"circuit {breaker.name!r} was started before a fork, and its thread does not run in "
            "this process; create and start a breaker in each process"
        )
    return loop


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
