"""Circuits of dependencies in memory, and the owner of the event that a test runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitOpenError,
    CircuitState,
    DependencyCircuits,
    DependencySettings,
    DependencyStore,
    Key,
    MemoryDependencyStore,
    Permit,
)
from breaker.clock import SystemClock
from processing.dependencies.scope import Scope

RULES: dict[str, Any] = {
    "failure_threshold": 3,
    "half_open_permits": 2,
    "ramp_seconds": 0,
    "standstill_failures": 0,
}


class LoopClock(SystemClock):
    """A clock that follows the running loop, which may jump."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def loop_now_us() -> int:
    """Return the running loop's time as a time of a store."""
    return round((1_800_000_000 + asyncio.get_running_loop().time()) * 1_000_000)


@asynccontextmanager
async def open_dependencies(
    *, store: DependencyStore | None = None, **rules: Any
) -> AsyncIterator[DependencyCircuits]:
    """Open the circuits of dependencies, in memory unless a store is given."""
    settings = DependencySettings(BreakerSettings(**(RULES | rules)))
    if store is None:
        store = MemoryDependencyStore(now_us=loop_now_us)
    async with DependencyCircuits(store, settings, clock=LoopClock()) as circuits:
        yield circuits


async def trip(circuits: DependencyCircuits, name: str = "bank") -> CircuitBreaker:
    """Open the circuit of a dependency with failures."""
    circuit = await circuits.use(name)
    assert circuit is not None
    for number in range(circuit.settings.failure_threshold):
        if circuit.circuit.state is CircuitState.CLOSED:
            permit = await circuit.try_acquire()
            await circuit.record_failure(f"trip-{number}", "test", permit)
    assert circuit.circuit.state is CircuitState.OPEN
    return circuit


async def half_open(circuits: DependencyCircuits, name: str = "bank") -> CircuitBreaker:
    """Open the circuit of a dependency, and approve the opening."""
    circuit = await trip(circuits, name)
    await circuit.approve(circuit.circuit.generation, "test")
    return circuit


class Owner:
    """The owner of the event that a test runs."""

    def __init__(self, circuits: DependencyCircuits, *, probes: bool = False) -> None:
        self.successes: Counter[str] = Counter()
        loop = asyncio.get_running_loop()
        self.own = Scope(circuits, Key("k"), loop, probes=probes, successes=self.successes)

    def scope(self) -> Scope | None:
        return self.own


async def free_permits(circuit: CircuitBreaker) -> int:
    """Return the number of permits that a half-open circuit would still give."""
    permits: list[Permit] = []
    with suppress(CircuitOpenError):
        while True:
            permits.append(await circuit.try_acquire(Key(f"free-{len(permits)}")))
    for permit in permits:
        await circuit.release(permit)
    return len(permits)
