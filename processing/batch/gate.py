"""The gate that admits events only while the circuit allows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from breaker import (
    Circuit,
    CircuitBreaker,
    CircuitOpenError,
    CircuitState,
    Key,
    Permit,
    StoreUnavailableError,
)
from processing.batch.hold import Hold
from processing.batch.ramp import Place, Turns, lanes_admitted
from processing.crashes.careful import CarefulMode
from processing.errors import ShutdownError


class Gate:
    """The gate in front of every event, shared by all invocations of an instance.

    While the circuit ramps up after closing, a lane also waits for its turn.

    Args:
        breaker: the circuit.
        held: called after each wait with its duration in seconds.
        careful: in careful mode a lane also waits until no other event of the process runs; None:
            there is no careful mode.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        held: Callable[[float], None] = lambda _seconds: None,
        careful: CarefulMode | None = None,
    ) -> None:
        self._careful = careful or CarefulMode(lambda: 0)
        self._careful.subscribe(self._look_again)
        self._breaker = breaker
        self._held = held
        self._stopping = asyncio.Event()
        self._permit = Permit(generation=-1, probe_id=None)
        # The latest circuit that admitted an event with this permit; None during a shutdown.
        self._admitting: Circuit | None = None
        self._ramping: set[Hold] = set()  # the invocations with lanes in a ramp
        self._partitions = 1

    @property
    def stopping(self) -> bool:
        """Return whether the instance is shutting down."""
        return self._stopping.is_set()

    @property
    def ramping(self) -> bool:
        """Return whether a lane waits for its turn after the circuit has closed."""
        return any(hold.turns is not None and hold.turns.waiting for hold in self._ramping)

    def enter(self, hold: Hold, lanes: int) -> None:
        """Note the number of lanes of an invocation that begins."""
        hold.lanes = lanes
        self._partitions = max(self._partitions, hold.number + 1)

    def leave(self, hold: Hold) -> None:
        """Forget an invocation that has ended."""
        self._ramping.discard(hold)
        hold.turns = None  # it refers to the hold; the cycle would wait for a collection

    def leave_turn(self) -> None:
        """Give the current lane's turn of careful mode back: it has ended, or waits for others."""
        self._careful.leave()

    def stop(self) -> None:
        """Stop admitting events, and end every wait."""
        self._stopping.set()
        self._admitting = None
        for hold in self._ramping:
            if hold.turns is not None:
                hold.turns.end_waits()

    def check(self, hold: Hold) -> None:
        """Raise the error that halted the invocation, or `ShutdownError` during a shutdown."""
        if hold.halted is not None:
            raise hold.halted
        if self._stopping.is_set():
            error = ShutdownError(
                "the instance is shutting down; unfinished events are redelivered"
            )
            hold.halt(error)
            raise error

    def permit(self, hold: Hold) -> Permit | None:
        """Return a permit if the circuit is closed, without a lane's turn in a ramp."""
        circuit = self._breaker.circuit
        if not circuit.admits or hold.halted is not None or self._stopping.is_set():
            return None
        return Permit(generation=circuit.generation, probe_id=None)

    def try_admit(self, hold: Hold) -> Permit | None:
        """Return a permit if the circuit is closed and it is the lane's turn, without suspension.

        The lane is the current task.
        """
        circuit = self._breaker.circuit
        if circuit is self._admitting and hold.halted is None:
            return self._permit  # a `Circuit` is frozen, so the checks below would pass again
        return None if self._careful.on else self._try_admit(circuit, hold)

    def _try_admit(self, circuit: Circuit, hold: Hold) -> Permit | None:
        if not circuit.admits or hold.halted is not None or self._stopping.is_set():
            return None
        if circuit.generation != self._permit.generation:
            return self._try_ramp(circuit.generation, hold)
        self._admitting = None if self._careful.on else circuit
        return self._permit

    def _look_again(self) -> None:
        """Look at the circuit and at careful mode before the next event."""
        self._admitting = None

    def _try_ramp(self, generation: int, hold: Hold) -> Permit | None:
        """Return a permit for a generation whose ramp was not over at the last call."""
        permit = Permit(generation=generation, probe_id=None)
        if self._breaker.ramp_share >= 1:
            self._permit = permit  # from now on, an admission does not look at the ramp
            return permit
        if hold.turns is None:
            hold.turns = Turns(lambda: self._admitted(hold))
            self._ramping.add(hold)
        return permit if hold.turns.take(generation) else None

    def _admitted(self, hold: Hold) -> int | None:
        """Return the number of an invocation's lanes that may run now; None to end their waits."""
        if not self._breaker.circuit.admits:
            return None
        place = Place(hold.number, self._partitions, hold.lanes)
        permits = self._breaker.settings.half_open_permits
        return lanes_admitted(self._breaker.ramp_share, permits, place)

    async def admit(self, hold: Hold, key: Key | None = None) -> Permit:
        """Wait until an event may start.

        Args:
            hold: the time limit of the invocation's waits.
            key: the key of the event; while other keys ask, a key whose probe failed waits.

        Raises:
            CircuitOpenError: the circuit stayed open for as long as the invocation may be held.
            ShutdownError: the instance is shutting down.
            BaseException: the error that halted the invocation.
        """
        started = time.monotonic()
        try:
            permit = await self._wait_for_permit(hold, key)
        finally:
            self._held(time.monotonic() - started)
        hold.reset()
        return permit

    async def _wait_for_permit(self, hold: Hold, key: Key | None) -> Permit:
        while True:
            self.check(hold)
            if self._careful.on and not await self._careful.take_turn():
                hold.reset()  # other events run
                continue
            if permit := self._try_admit(self._breaker.circuit, hold):
                return permit
            known = self._breaker.circuit
            if known.admits:
                await self._wait_for_turn(known, hold)
                continue
            try:
                permit = await self._breaker.try_acquire(key)
            except CircuitOpenError as error:
                await self._wait_for_change(known, error, hold)
                continue
            if permit.probe_id is None and self._breaker.circuit.admits:
                continue  # the circuit closed while the permit was acquired
            if hold.halted is None and not self.stopping:
                return permit
            await self.release(permit)  # the invocation was halted while the permit was acquired

    async def wait_while_open(self, hold: Hold) -> None:
        """Wait until the circuit is closed or half-open; needs no permit and no turn.

        Raises:
            CircuitOpenError, ShutdownError, BaseException: see `admit`.
        """
        while True:
            started = time.monotonic()
            self.check(hold)
            known = self._breaker.circuit
            if known.admits or (known.state is CircuitState.HALF_OPEN and not known.holding):
                break
            await self._wait_for_change(known, CircuitOpenError(known, known.retry_after), hold)
            self._held(time.monotonic() - started)
        hold.reset()

    async def release(self, permit: Permit) -> None:
        """Release an unused permit, so that others can probe before its lease expires."""
        with suppress(StoreUnavailableError):  # the permit's lease expires
            await self._breaker.release(permit)

    async def pause(
        self, seconds: float, hold: Hold | None = None, ends: asyncio.Event | None = None
    ) -> None:
        """Sleep until the time is over, the invocation is halted, or the instance shuts down.

        Args:
            seconds: the time.
            hold: the invocation; the pause ends when the invocation is halted, and raises the
                error that halted the invocation.
            ends: ends the pause as well when it is set.

        Raises:
            ShutdownError: the instance is shutting down. A retry must not continue without its
                pause: the event would use up its attempts and go to the poison queue.
            BaseException: the error that halted the invocation, if `hold` is given.
        """
        self._careful.leave()
        if ends is None:
            await self._until_stopping(asyncio.sleep(seconds), hold)
        else:
            with suppress(TimeoutError):
                await self._until_stopping(asyncio.wait_for(ends.wait(), seconds), hold)
        self.check(hold or Hold(0))

    async def _wait_for_change(self, known: Circuit, error: CircuitOpenError, hold: Hold) -> None:
        self._careful.leave()
        remaining = hold.remaining()
        if remaining <= 0:
            hold.halt(error)
            raise error
        # In HALF_OPEN all permits may be in use and no change may follow: poll after a timeout.
        timeout = min(remaining, error.retry_after or 1.0)
        await self._until_stopping(self._breaker.wait_for_change(known, timeout=timeout), hold)

    async def _wait_for_turn(self, known: Circuit, hold: Hold) -> None:
        """Wait for the lane's turn in a ramp; a stop, a halt and an opening end the wait.

        The wait counts for the hold time only while no lane of the invocation runs.
        """
        self._careful.leave()
        if hold.turns is not None and hold.turns.running:
            hold.reset()
        remaining = hold.remaining()
        if remaining <= 0:
            error = CircuitOpenError(known)
            hold.halt(error)
            raise error
        if hold.turns is not None:
            await hold.turns.wait(remaining)

    async def _until_stopping(
        self, awaitable: Coroutine[Any, Any, Any], hold: Hold | None = None
    ) -> None:
        """Wait; a shutdown ends the wait, and a halt of the given invocation also ends it."""
        waiting = asyncio.ensure_future(awaitable)
        waits: list[asyncio.Future[Any]] = [waiting, asyncio.ensure_future(self._stopping.wait())]
        if hold is not None:
            waits.append(hold.when_halted())
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
