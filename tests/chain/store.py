"""The stores of the circuits, which can lose everything as an emptied Redis does."""

from __future__ import annotations

from breaker import MemoryCircuitStore, MemoryDependencyStore


class EmptiableStore(MemoryCircuitStore):
    """A memory store with data loss; `lost_at` is the time of the last loss in microseconds."""

    lost_at = 0

    def lose_everything(self) -> None:
        watchers = self._watchers
        MemoryCircuitStore.__init__(self, self.name, now_us=self._now_us, pushed=self._pushed)
        self._watchers = watchers
        self.lost_at = self._now_us()


class EmptiableDependencyStore(MemoryDependencyStore):
    """The stores of the dependencies' circuits, and their registry."""

    def circuit(self, dependency: str) -> EmptiableStore:
        """See `DependencyStore.circuit`."""
        found = self._circuits.get(dependency)
        if not isinstance(found, EmptiableStore):
            name = super().circuit(dependency).name
            found = EmptiableStore(
                name, now_us=self._now_us, pushed=lambda circuit: self._push((dependency, circuit))
            )
            self._circuits[dependency] = found
        return found

    def lose_everything(self) -> None:
        """Lose the registry and the circuits."""
        self._used_us.clear()
        for circuit in self._circuits.values():
            assert isinstance(circuit, EmptiableStore)
            circuit.lose_everything()


class Stores:
    """The store of the app's circuit, and the stores of its dependencies' circuits."""

    def __init__(self, app: EmptiableStore, dependencies: EmptiableDependencyStore) -> None:
        self.app = app
        self.dependencies = dependencies

    def lose_everything(self) -> None:
        self.app.lose_everything()
        self.dependencies.lose_everything()
