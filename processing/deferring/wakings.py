"""The wakings that an instance asks for: keys become due when their dependency's circuit admits."""

from __future__ import annotations

import asyncio

from breaker import CircuitBreaker
from processing.deferring.admission import admits_replays
from processing.dependencies.circuits import Circuits
from processing.identity import Source
from processing.parking.store import ParkingStore
from processing.parking.waking import Waking


class Wakings:
    """The wakings of one instance.

    The store wakes the keys of a partition once for each state of a circuit. The instance asks once
    for each state that it sees, so that a healthy batch costs no command.

    Args:
        store: the parked lists.
        dependencies: the circuits of the app's dependencies; None: the app has none.
    """

    def __init__(self, store: ParkingStore, dependencies: Circuits | None) -> None:
        self._store = store
        self._dependencies = dependencies
        # The state of each dependency's circuit that was asked for last, and the time.
        self._asked: dict[Source, dict[str, tuple[tuple[int, int], float]]] = {}

    def due(self, source: Source) -> list[Waking]:
        """Return the wakings of a partition that this instance has not asked for; does no I/O."""
        if self._dependencies is None or not self._dependencies.circuits:
            return []
        asked, now = self._asked.get(source, {}), asyncio.get_running_loop().time()
        found = []
        for name, breaker in self._dependencies.circuits.items():
            waking = _waking(name, breaker)
            if waking is not None and not waking.is_asked(asked.get(name), now):
                found.append(waking)
        return found

    async def ask(self, source: Source) -> None:
        """Wake the keys of a partition whose dependency's circuit admits replays again.

        Raises:
            StorageUnavailableError: the store did not answer.
        """
        for waking in self.due(source):
            await self._store.wake(source, waking)
            asked = self._asked.setdefault(source, {})
            now = asyncio.get_running_loop().time()
            asked[waking.dependency] = (waking.position, now)


def _waking(name: str, breaker: CircuitBreaker) -> Waking | None:
    """Return the waking by a circuit; None if it has never opened, or admits no replay."""
    circuit = breaker.circuit
    if circuit.generation == 0 or not admits_replays(circuit):
        return None
    most = breaker.settings.half_open_permits
    return Waking(name, circuit.generation, closed=circuit.admits, most=most)
