"""An instance's view of the circuit, and waiting for a change."""

from __future__ import annotations

import asyncio
import logging

from breaker.state import Circuit

logger = logging.getLogger("breaker.circuit")
"""The logger of `CircuitBreaker`, whose state changes this module logs."""


class CircuitView:
    """The last known state; a snapshot with an earlier position is ignored.

    Attributes:
        circuit: the last known state; reading it does no I/O.
    """

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self._changed = asyncio.Event()

    async def wait_for_change(self, known: Circuit, timeout: float) -> Circuit:
        """Return the circuit once it differs from `known`, or after `timeout` seconds.

        A difference is another state or generation, or another value of `degraded` or `holding`.
        Another number of failures is no difference.
        """
        try:
            async with asyncio.timeout(timeout):
                while _same(self.circuit, known):
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self.circuit

    def _learn(self, circuit: Circuit) -> None:
        """Replace the known state, unless the given one has an earlier position."""
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
