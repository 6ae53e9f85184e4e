"""The gate in front of every event: open only while the circuit lets events through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from breaker import Circuit, CircuitBreaker, CircuitOpenError, Permit, StoreUnavailableError
from processing.errors import ShutdownError


class Hold:
    """How long one invocation has been held; each wait at the gate draws on the same patience.

    Args:
        seconds: patience of the invocation, counted from its first wait and anew whenever an
            event was let through in between.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.halted: BaseException | None = None
        self._deadline: float | None = None
        self._kept_until: float | None = None

    def remaining(self) -> float:
        """Seconds of patience left; the first call starts the clock."""
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self.seconds
        return self._deadline - now

    def keep_expired(self) -> bool:
        """Whether events have been kept since longer than the invocation may be held.

        The first call starts the clock. An invocation that never ended would run into the host's
        function timeout, which ends the whole instance.
        """
        now = asyncio.get_running_loop().time()
        if self._kept_until is None:
            self._kept_until = now + self.seconds
        return now >= self._kept_until

    def released(self) -> None:
        """An event was let through: patience is whole again."""
        self._deadline = None

    def halt(self, error: BaseException) -> None:
        """No lane of this invocation may start another event; the first reason counts."""
        self.halted = self.halted or error


class Gate:
    """Admits events; shared by all invocations of an instance.

    Args:
        breaker: who decides.
        held: told of each wait, in seconds, when it is over.
    """

    def __init__(
        self, breaker: CircuitBreaker, held: Callable[[float], None] = lambda _seconds: None
    ) -> None:
        self._breaker = breaker
        self._held = held
        self._stopping = asyncio.Event()
        self._permit = Permit(generation=-1, probe_id=None)

    @property
    def stopping(self) -> bool:
        """Whether the instance is shutting down."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Admit nothing any more and end every wait."""
        self._stopping.set()

    def check(self, hold: Hold) -> None:
        """Raise what halted the invocation, or `ShutdownError` if the instance is stopping."""
        if hold.halted is not None:
            raise hold.halted
        if self._stopping.is_set():
            error = ShutdownError("the instance is stopping; unfinished events run again")
            hold.halt(error)
            raise error

    def try_admit(self, hold: Hold) -> Permit | None:
        """The healthy path, without I/O or suspension: a permit if the circuit is closed."""
        circuit = self._breaker.circuit
        if not circuit.admits or hold.halted is not None or self._stopping.is_set():
            return None
        if circuit.generation != self._permit.generation:
            self._permit = Permit(generation=circuit.generation, probe_id=None)
        return self._permit

    async def admit(self, hold: Hold) -> Permit:
        """Wait until an event may start.

        Raises:
            CircuitOpenError: the circuit stayed open for as long as the invocation may be held.
            ShutdownError: the instance is stopping.
            BaseException: what halted the invocation.
        """
        started = time.monotonic()
        try:
            permit = await self._admitted(hold)
        finally:
            self._held(time.monotonic() - started)
        hold.released()
        return permit

    async def _admitted(self, hold: Hold) -> Permit:
        while True:
            self.check(hold)
            if permit := self.try_admit(hold):
                return permit
            known = self._breaker.circuit
            try:
                permit = await self._breaker.try_acquire()
            except CircuitOpenError as error:
                await self._wait(known, error, hold)
                continue
            if hold.halted is None and not self.stopping:
                return permit
            await self.release(permit)  # it was asked for before the end was known

    async def release(self, permit: Permit) -> None:
        """Nothing came of what was admitted: let others probe without waiting for the lease."""
        with suppress(StoreUnavailableError):  # it runs out
            await self._breaker.release(permit)

    async def pause(self, seconds: float, hold: Hold | None = None) -> None:
        """Sleep, for as long as the instance is not stopping.

        Raises:
            ShutdownError: the instance is stopping. Whoever pauses between attempts must not go on
                at once: it would hurry an event through its attempts into the poison queue.
            BaseException: what halted the invocation, if `hold` is given.
        """
        await self._until_stopping(asyncio.sleep(seconds))
        self.check(hold or Hold(0))

    async def _wait(self, known: Circuit, error: CircuitOpenError, hold: Hold) -> None:
        remaining = hold.remaining()
        if remaining <= 0:
            hold.halt(error)
            raise error
        # In HALF_OPEN all permits may be taken with no change to come: look again after a while.
        patience = min(remaining, error.retry_after or 1.0)
        await self._until_stopping(self._breaker.wait_for_change(known, timeout=patience))

    async def _until_stopping(self, awaitable: Coroutine[Any, Any, Any]) -> None:
        waiting = asyncio.ensure_future(awaitable)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({waiting, stop}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        finally:
            for task in (waiting, stop):
                task.cancel()
            await asyncio.gather(waiting, stop, return_exceptions=True)
