"""The circuits of an app's dependencies, as handlers' blocks, lanes and replays need them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # a handler that imports `dependency` need not load the Redis client
    from breaker import CircuitBreaker


class Circuits(Protocol):
    """The circuits of an app's dependencies; names are in lower case."""

    @property
    def circuits(self) -> Mapping[str, CircuitBreaker]:
        """Every known circuit, by the dependency's name."""

    def find(self, name: str) -> CircuitBreaker | None:
        """Return a circuit without I/O; None if this instance does not know the name."""

    async def use(self, name: str) -> CircuitBreaker | None:
        """Return a circuit once its state is known; the first use registers the name.

        None: the name is not valid, or beyond the greatest number of dependencies. Its failures
        count for the app's circuit.
        """
