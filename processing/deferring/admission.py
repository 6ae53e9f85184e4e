"""The admission of replays: how many may run now, and the permit of each event."""

from __future__ import annotations

from collections.abc import Callable

from breaker import CircuitBreaker, CircuitOpenError, CircuitState, Key, Permit

MOST_REPLAYS = 16
"""Greatest number of replays that one instance runs at the same time."""


class Admission:
    """The app's circuit, as replays see it.

    Args:
        breaker: the circuit.
        most_lanes: number of lanes of one batch that run at the same time; replays are no more.

    Attributes:
        limit: number of replays that may run on this instance without a ramp.
    """

    def __init__(self, breaker: CircuitBreaker, most_lanes: int) -> None:
        self._breaker = breaker
        self.limit = min(MOST_REPLAYS, most_lanes)

    @property
    def admits(self) -> bool:
        """Return whether a replay may start an event, now or later in the ramp."""
        circuit = self._breaker.circuit
        return circuit.admits or (circuit.state is CircuitState.HALF_OPEN and not circuit.holding)

    @property
    def most(self) -> int:
        """The number of replays that may run on this instance now.

        After the circuit's closing the number rises with the ramp. While the circuit is half-open,
        each event needs a probe's permit, and the permits are few.
        """
        if not self.admits:
            return 0
        return int(self._breaker.ramp_share * self.limit)

    async def permit(self, key: Key, may_start: Callable[[], bool]) -> Permit | None:
        """Return a permit to start an event of a key now, or None; does not wait.

        Args:
            key: the key.
            may_start: returns whether the replay may start an event; asked again after each wait.
        """
        if not may_start():
            return None
        circuit = self._breaker.circuit
        if circuit.admits:
            return Permit(circuit.generation)
        try:
            permit = await self._breaker.try_acquire(key)
        except CircuitOpenError:
            return None
        if may_start():
            return permit
        await self._breaker.release(permit)
        return None
