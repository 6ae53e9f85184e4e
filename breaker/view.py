"""An instance's view of the circuit, and waiting for a change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from breaker.configuration.one_line import escaped
from breaker.state import Circuit, CircuitState

logger = logging.getLogger("breaker.circuit")
"""The logger of `CircuitBreaker`, whose state changes this module logs."""


class CircuitView:
    """The last known state; a snapshot with an earlier position is ignored.

    Attributes:
        circuit: the last known state; reading it does no I/O.

    Args:
        circuit: the first state.
        monotonic: this instance's clock.
    """

    def __init__(self, circuit: Circuit, monotonic: Callable[[], float]) -> None:
        self.circuit = circuit
        self._monotonic = monotonic
        self._closed_at: float | None = None
        self._changed = asyncio.Event()

    @property
    def closed_seconds(self) -> float | None:
        """Seconds since the circuit closed; None if not closed, or closed since the beginning.

        The store's clock gives the age of the closing when this instance learns of the closing;
        from then on, this instance's clock counts.
        """
        return None if self._closed_at is None else self._monotonic() - self._closed_at

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
        if before.position != circuit.position:
            self._closed_at = self._closing_of(circuit)
        if not _same(before, circuit):
            logger.log(
                logging.INFO if circuit.admits else logging.WARNING,
                "circuit %s is %s%s, generation %d: %s",
                circuit.name,
                circuit.state,
                " (degraded)" if circuit.degraded else "",
                circuit.generation,
                escaped(circuit.reason) or "-",
            )
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def _closing_of(self, circuit: Circuit) -> float | None:
        """Return the time of a circuit's closing by this instance's clock."""
        closed = circuit.state is CircuitState.CLOSED
        if not closed or circuit.changed_at is None or circuit.as_of is None:
            return None
        return self._monotonic() - max(0.0, circuit.as_of - circuit.changed_at)


def _same(one: Circuit, other: Circuit) -> bool:
    return (one.position, one.state, one.degraded, one.holding) == (
        other.position,
        other.state,
        other.degraded,
        other.holding,
    )
