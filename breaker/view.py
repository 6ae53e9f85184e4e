"""What one instance knows of the circuit, and waiting until that changes."""

from __future__ import annotations

import asyncio
import logging

from breaker.state import Circuit

logger = logging.getLogger("breaker.circuit")
"""By the name of what it tells of."""


class CircuitView:
    """The last known state, which never goes back to an earlier one.

    Attributes:
        circuit: the last known state; read it freely, it costs nothing.
    """

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self._changed = asyncio.Event()

    async def wait_for_change(self, known: Circuit, timeout: float) -> Circuit:
        """Return once the state, generation or health differs from `known`, or after `timeout` s.

        Counts of failures alone are no change.
        """
        try:
            async with asyncio.timeout(timeout):
                while _same(self.circuit, known):
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self.circuit

    def _learn(self, circuit: Circuit) -> None:
        """Take a state, unless a later one is known already."""
        if circuit.position < self.circuit.position:
            return
        before, self.circuit = self.circuit, circuit
        if not _same(before, circuit):
            logger.log(
                logging.INFO if circuit.admits else logging.WARNING,
                "circuit %s is %s%s, generation %d: %s",
                circuit.name,
                circuit.state,
                " (degraded)" if circuit.degraded else "",
                circuit.generation,
                circuit.reason or "-",
            )
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()


def _same(one: Circuit, other: Circuit) -> bool:
    return (one.position, one.state, one.degraded, one.holding) == (
        other.position,
        other.state,
        other.degraded,
        other.holding,
    )
