"""The states of an app's dependencies: their circuits, and the deferred keys that wait for them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from breaker import CircuitBreaker, CircuitState
from processing.identity import Identity, Source
from processing.parking.store import ParkingStore
from processing.partitions.lag import PartitionLag

COUNT_SECONDS = 15.0
"""Least time between two counts of a partition's keys; ten thousand keys take about 15 ms."""

type Circuits = Callable[[], Mapping[str, CircuitBreaker]]
"""Function that returns the known circuits by their dependencies' names, without I/O."""


@dataclass(frozen=True, slots=True)
class DependencyState:
    """The state of one dependency.

    Attributes:
        name: the dependency.
        state: the state of its circuit.
        generation: the circuit's generation.
        since: time of the circuit's last change, seconds since 1970; None: it has never opened.
        reason: the reason of that change; may be empty.
        keys: number of deferred keys that wait for the dependency.
    """

    name: str
    state: CircuitState
    generation: int
    since: float | None = None
    reason: str = ""
    keys: int = 0

    @property
    def holds(self) -> bool:
        """Return whether an open circuit holds the keys that need the dependency."""
        return self.state is not CircuitState.CLOSED


class WaitingKeys:
    """The number of deferred keys by dependency, counted from time to time.

    Args:
        parking: the parked lists.
        identity: the app.
        clock: returns seconds that never decrease.
    """

    def __init__(
        self,
        parking: ParkingStore,
        identity: Identity,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parking = parking
        self._identity = identity
        self._clock = clock
        # The number of deferred keys of a partition at its last count, the time, and the numbers.
        self._counts: dict[str, tuple[int, float, Mapping[str, int]]] = {}

    async def count(self, lags: Collection[PartitionLag]) -> Counter[str]:
        """Return the number of deferred keys by dependency, up to `COUNT_SECONDS` old.

        Raises:
            StorageUnavailableError: Redis did not answer.
        """
        found = await asyncio.gather(*(self._count(lag) for lag in lags if lag.deferred))
        total: Counter[str] = Counter()
        for numbers in found:
            total.update(numbers)
        return total

    async def _count(self, lag: PartitionLag) -> Mapping[str, int]:
        keys, at, numbers = self._counts.get(lag.partition, (0, 0.0, {}))
        now = self._clock()
        if not keys or now - at >= COUNT_SECONDS:
            numbers = await self._parking.needs(Source(self._identity, lag.partition))
            self._counts[lag.partition] = (lag.deferred, now, numbers)
        return numbers


def dependency_states(
    circuits: Mapping[str, CircuitBreaker], keys: Mapping[str, int]
) -> tuple[DependencyState, ...]:
    """Return the states of all dependencies by name.

    Args:
        circuits: the circuits by name.
        keys: number of deferred keys by name; "" and names without a circuit count for the app.
    """
    return tuple(
        DependencyState(
            name,
            breaker.circuit.state,
            breaker.circuit.generation,
            breaker.circuit.changed_at,
            breaker.circuit.reason,
            keys.get(name, 0),
        )
        for name, breaker in sorted(circuits.items())
    )
