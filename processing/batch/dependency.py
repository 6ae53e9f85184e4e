"""The dependency that failed an event: its circuit, its permits, and the wait for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from breaker import Circuit, CircuitBreaker, CircuitOpenError, CircuitState, Key, Permit
from processing.batch.run import BatchRun
from processing.dependencies.scope import Scope
from processing.handlers.retry import Failure

LONGEST_LOOK_SECONDS = 1.0
"""Longest wait for a permit of a half-open circuit, because a release is not pushed."""


class FailedDependency:
    """The dependency that failed an event of a lane.

    Args:
        run: the invocation.
        scope: the scope of the lane's events.
        circuit: the dependency's circuit.
        name: the dependency.
        key: the key by which circuits know the lane's events.

    Attributes:
        circuit: as given.
        name: as given.
    """

    def __init__(
        self, run: BatchRun, scope: Scope, circuit: CircuitBreaker, name: str, key: Key
    ) -> None:
        self.circuit = circuit
        self.name = name
        self._run = run
        self._scope = scope
        self._key = key

    @property
    def admits(self) -> bool:
        """Return whether the circuit admits events without a probe's permit."""
        return self.circuit.circuit.admits

    @property
    def is_half_open(self) -> bool:
        """Return whether the circuit gives permits to probes."""
        known = self.circuit.circuit
        return known.state is CircuitState.HALF_OPEN and not known.holding

    def take_permit(self) -> Permit:
        """Return the permit with which the failure is recorded; see `Scope.take_permit`."""
        return self._scope.take_permit(self.name, self.circuit)

    async def succeeded(self) -> None:
        """Record that the event has succeeded; see `Scope.succeeded`."""
        await self._scope.succeeded(self.name)

    async def wait_until_it_gives_permits(self) -> None:
        """Wait until the circuit is closed or half-open, or the invocation keeps no more events."""
        while not (self.admits or self.is_half_open):
            seconds = self._run.hold.keep_remaining()
            if seconds <= 0:
                return
            await self.wait_for_change(self.circuit.circuit, seconds)

    async def acquire(self) -> bool:
        """Acquire a probe's permit for the event's next attempt, if the circuit is not closed.

        Returns:
            Whether the event may start; False after a wait for another permit.
        """
        known = self.circuit.circuit
        if known.admits:
            return True
        try:
            self._scope.hold(self.name, await self.circuit.try_acquire(self._key))
        except CircuitOpenError as error:
            seconds = min(error.retry_after or LONGEST_LOOK_SECONDS, LONGEST_LOOK_SECONDS)
            await self.wait_for_change(known, min(seconds, self._run.hold.keep_remaining()))
            return False
        return True

    async def wait_for_change(self, known: Circuit, seconds: float) -> None:
        """Wait for another state; a shutdown and a halted invocation end the wait with an error."""
        if seconds <= 0:
            return
        changed = asyncio.Event()

        async def watch() -> None:
            await self.circuit.wait_for_change(known, timeout=seconds)
            changed.set()

        watching = asyncio.create_task(watch())
        try:
            await self._run.parts.gate.pause(seconds, self._run.hold, changed)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def failed_dependency(
    run: BatchRun, scope: Scope | None, key: Key, failure: Failure
) -> tuple[FailedDependency | None, Failure]:
    """Return the dependency of a failure and the failure.

    Without a circuit for its name, the failure is the app's and names no dependency.
    """
    if scope is not None and failure.dependency:
        circuit = await scope.find(failure.dependency)
        if circuit is not None:
            return FailedDependency(run, scope, circuit, failure.dependency, key), failure
    return None, replace(failure, dependency="")
