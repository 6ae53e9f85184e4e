"""Circuits of dependencies in memory, and the owner of the event that a test runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from breaker import BreakerSettings, CircuitBreaker, CircuitState, Key, MemoryCircuitStore, Recovery
from processing.dependencies.scope import Scope

RULES: dict[str, Any] = {
    "failure_threshold": 3,
    "half_open_permits": 2,
    "ramp_seconds": 0,
    "standstill_failures": 0,
    "recovery": Recovery.MANUAL,
}


class Dependencies:
    """A circuit for each name in memory, up to a number of names.

    Attributes:
        most: greatest number of names.
        store: returns the store of a circuit's name.
        uses: number of calls of `use`.
    """

    def __init__(self, opened: AsyncExitStack, *, most: int = 20, **rules: Any) -> None:
        self._opened = opened
        self._rules = RULES | rules
        self._circuits: dict[str, CircuitBreaker] = {}
        self.most = most
        self.store: Callable[[str], MemoryCircuitStore] = MemoryCircuitStore
        self.uses = 0

    @property
    def circuits(self) -> Mapping[str, CircuitBreaker]:
        return self._circuits

    def find(self, name: str) -> CircuitBreaker | None:
        return self._circuits.get(name)

    async def use(self, name: str) -> CircuitBreaker | None:
        self.uses += 1
        if name not in self._circuits and len(self._circuits) >= self.most:
            return None
        if name not in self._circuits:
            rules = BreakerSettings(name=name, **self._rules)
            circuit = CircuitBreaker(self.store(name), rules)
            self._circuits[name] = await self._opened.enter_async_context(circuit)
        return self._circuits[name]

    async def open(self, name: str) -> CircuitBreaker:
        """Open the circuit of a dependency with failures."""
        circuit = await self.use(name)
        assert circuit is not None
        for number in range(circuit.settings.failure_threshold):
            permit = await circuit.try_acquire()
            await circuit.record_failure(f"trip-{number}", "test", permit)
        assert circuit.circuit.state is CircuitState.OPEN
        return circuit

    async def half_open(self, name: str) -> CircuitBreaker:
        """Open the circuit of a dependency, and approve the opening."""
        circuit = await self.open(name)
        await circuit.approve(circuit.circuit.generation, "test")
        return circuit


@asynccontextmanager
async def open_dependencies(**options: Any) -> AsyncIterator[Dependencies]:
    async with AsyncExitStack() as opened:
        yield Dependencies(opened, **options)


class Owner:
    """The owner of the event that a test runs."""

    def __init__(self, circuits: Dependencies, *, probes: bool = False) -> None:
        self.successes: Counter[str] = Counter()
        self.own = Scope(
            circuits,
            Key("k"),
            asyncio.get_running_loop(),
            probes=probes,
            successes=self.successes,
        )

    def scope(self) -> Scope | None:
        return self.own


async def free_permits(circuit: CircuitBreaker) -> int:
    """Return the number of permits that a half-open circuit would still give."""
    free = 0
    permits = []
    for number in range(circuit.settings.half_open_permits + 1):
        try:
            permits.append(await circuit.try_acquire(Key(f"free-{number}")))
            free += 1
        except Exception:
            break
    for permit in permits:
        await circuit.release(permit)
    return free
