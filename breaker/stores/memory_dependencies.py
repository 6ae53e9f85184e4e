"""The stores of an app's dependencies in this process, for tests and for a single instance."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection

from breaker.clock import NowUs, system_now_us
from breaker.names import circuit_name
from breaker.registration import Poller
from breaker.settings import check_name
from breaker.state import Circuit
from breaker.stores.dependencies import UNUSED_SECONDS, FindRules
from breaker.stores.memory import MemoryCircuitStore
from breaker.stores.memory_instances import MemoryInstances

type _Push = tuple[str, Circuit | None] | None


class MemoryDependencyStore:
    """A `DependencyStore` in memory; several `DependencyCircuits` of one event loop may share it.

    The circuit of a name without a place is kept as long as the store.

    Args:
        app: the name of the app's own circuit.
        now_us: the store's clock, microseconds since the epoch.
    """

    def __init__(self, app: str = "breakwater", *, now_us: NowUs = system_now_us) -> None:
        self._app = check_name(app)
        self._now_us = now_us
        self._used_us: dict[str, int] = {}
        self._circuits: dict[str, MemoryCircuitStore] = {}
        self._instances = MemoryInstances()
        self._watchers: set[asyncio.Queue[_Push]] = set()

    @property
    def app(self) -> str:
        """The name of the app's own circuit."""
        return self._app

    def circuit(self, dependency: str) -> MemoryCircuitStore:
        """See `DependencyStore.circuit`; the same store for each call."""
        found = self._circuits.get(dependency)
        if found is None:
            name = circuit_name(self._app, dependency)
            found = MemoryCircuitStore(
                name,
                now_us=self._now_us,
                pushed=lambda circuit: self._push((dependency, circuit)),
                instances=self._instances,
            )
            self._circuits[dependency] = found
        return found

    async def register(
        self, used: Collection[str], most: int, poller: Poller | None = None
    ) -> frozenset[str]:
        """See `DependencyStore.register`."""
        now = self._now_us()
        if poller is not None:
            self._instances.note(now, poller)
        oldest = now - round(UNUSED_SECONDS * 1_000_000)
        self._used_us = {name: at for name, at in self._used_us.items() if at >= oldest}
        for name in used:
            known = name in self._used_us
            if known or len(self._used_us) < most:
                self._used_us[name] = now
                if not known:
                    self._push((name, None))
        return frozenset(self._used_us)

    async def changes(self, rules: FindRules) -> AsyncGenerator[_Push]:
        """See `DependencyStore.changes`."""
        queue: asyncio.Queue[_Push] = asyncio.Queue()
        queue.put_nowait(None)
        self._watchers.add(queue)
        try:
            while True:
                push = await queue.get()
                if push is not None and rules(push[0]) is None:
                    push = (push[0], None)
                yield push
        finally:
            self._watchers.discard(queue)

    async def aclose(self) -> None:
        """Do nothing: this store runs nothing."""

    def _push(self, push: _Push) -> None:
        for queue in self._watchers:
            queue.put_nowait(push)
