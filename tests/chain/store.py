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
    """The stores of all circuits.

    Attributes:
        app: the store of the circuit of the app, or of the pipeline that opens.
        dependencies: the stores of the circuits of its dependencies.
        other: the store of the other pipeline's circuit.
    """

    def __init__(
        self,
        app: EmptiableStore,
        dependencies: EmptiableDependencyStore,
        other: EmptiableStore,
    ) -> None:
        self.app = app
        self.dependencies = dependencies
        self.other = other

    def lose_everything(self) -> None:
        self.app.lose_everything()
        self.other.lose_everything()
        self.dependencies.lose_everything()
