"""The store of the circuit, which can lose everything as an emptied Redis does."""

from __future__ import annotations

from breaker import MemoryCircuitStore


class EmptiableStore(MemoryCircuitStore):
    """A memory store with data loss; `lost_at` is the time of the last loss in microseconds."""

    lost_at = 0

    def lose_everything(self) -> None:
        watchers = self._watchers
        MemoryCircuitStore.__init__(self, self.name, now_us=self._now_us)
        self._watchers = watchers
        self.lost_at = self._now_us()
