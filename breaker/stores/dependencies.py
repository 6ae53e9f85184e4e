"""The protocol of the stores of all dependencies' circuits of one app."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection
from typing import Protocol

from breaker.registration import Poller
from breaker.state import Circuit, Rules
from breaker.stores.base import CircuitStore

UNUSED_SECONDS = 30 * 86_400.0
"""A name that was not used for so long frees its place."""
KEPT_SECONDS = 90 * 86_400.0
"""Time for which the circuit of a name without a place is kept."""

type FindRules = Callable[[str], Rules | None]
"""Returns the rules of the circuit of a dependency; None for a dependency that is not known."""


class DependencyStore(Protocol):
    """The registry of an app's dependencies, and a circuit store for each of them.

    All operations raise `StoreUnavailableError` if the store does not answer.
    """

    @property
    def app(self) -> str:
        """The name of the app's own circuit."""
        ...

    def circuit(self, dependency: str) -> CircuitStore:
        """Return the store of one dependency's circuit.

        `snapshot` and `report` of several circuits that are called at the same time, with or
        without `register`, share one request.
        """
        ...

    async def register(
        self, used: Collection[str], most: int, poller: Poller | None = None
    ) -> frozenset[str]:
        """Note that names were used, and return the registered names.

        A new name is registered unless `most` names are. A name that was not used for
        `UNUSED_SECONDS` is removed; the data of its circuit is kept for `KEPT_SECONDS`, and a
        registration within this time finds the data again.

        Args:
            used: names of dependencies.
            most: greatest number of registered names.
            poller: the instance that polls; `CircuitStore.registered` of each circuit returns it.
        """
        ...

    def changes(self, rules: FindRules) -> AsyncGenerator[tuple[str, Circuit | None] | None]:
        """Yield the name and each pushed state of a dependency's circuit.

        The state is None if the name was registered now or `rules` does not know it. The generator
        yields None after subscribing, because pushes may be missed.
        """
        ...

    async def aclose(self) -> None:
        """Stop what the store runs; the caller's client stays open."""
        ...
