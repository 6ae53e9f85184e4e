"""Memory stores of dependencies with outages and data loss."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection

from breaker import Circuit, MemoryDependencyStore, StoreUnavailableError
from breaker.names import circuit_name
from breaker.registration import Poller
from breaker.stores.dependencies import FindRules
from tests.support.breaker.unreliable_store import UnreliableStore


class UnreliableDependencies(MemoryDependencyStore):
    """Stores that share outages (`go_away`, `come_back`) and data loss (`lose_everything`)."""

    away = False

    def circuit(self, dependency: str) -> UnreliableStore:
        found = self._circuits.get(dependency)
        if found is None:
            found = self._circuits[dependency] = UnreliableStore(
                circuit_name(self.app, dependency),
                now_us=self._now_us,
                pushed=lambda circuit: self._push((dependency, circuit)),
            )
            found.away = self.away
        assert isinstance(found, UnreliableStore)
        return found

    async def register(
        self, used: Collection[str], most: int, poller: Poller | None = None
    ) -> frozenset[str]:
        self._check()
        return await super().register(used, most, poller)

    async def changes(self, rules: FindRules) -> AsyncGenerator[tuple[str, Circuit | None] | None]:
        self._check()
        async for change in super().changes(rules):
            self._check()
            yield change

    def go_away(self) -> None:
        self._set_away(away=True)

    def come_back(self) -> None:
        self._set_away(away=False)

    def lose_everything(self) -> None:
        self._used_us.clear()
        for store in self._circuits.values():
            assert isinstance(store, UnreliableStore)
            store.lose_everything()

    def _set_away(self, *, away: bool) -> None:
        self.away = away
        for store in self._circuits.values():
            assert isinstance(store, UnreliableStore)
            store.away = away

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailableError("out of reach")
