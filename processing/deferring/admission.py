"""The admission of replays: how many may run now, and the permits of each event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from breaker import Circuit, CircuitBreaker, CircuitOpenError, CircuitState, Key, Permit
from processing.dependencies.circuits import Circuits
from processing.parking.waking import Place

MOST_REPLAYS = 16
"""Greatest number of replays that one instance runs at the same time."""
OPEN_PAUSE_SECONDS = 60.0
"""Pause of a key whose dependency's circuit is open.

A change of the circuit makes the keys due. The pause ends the wait of a key that was postponed at
the same moment.
"""
PROBE_PAUSE_SECONDS = 2.0
"""Pause of a key whose dependency's circuit has no permit for it, or is in its ramp."""


@dataclass(frozen=True, slots=True)
class Need:
    """A dependency that a deferred key waits for, and its circuit."""

    name: str
    breaker: CircuitBreaker


@dataclass(frozen=True, slots=True)
class Permits:
    """The permits of one event.

    Attributes:
        app: the permit of the app's circuit.
        own: the permit of the dependency's circuit; None: the key waits for no dependency.
    """

    app: Permit
    own: Permit | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A dependency's circuit does not admit the event; the key's next replay follows a pause."""

    seconds: float


class Admission:
    """The app's circuit and those of its dependencies, as replays see them.

    Args:
        breaker: the app's circuit.
        most_lanes: number of lanes of one batch that run at the same time; replays are no more.
        dependencies: the circuits of the app's dependencies; None: the app has none.

    Attributes:
        limit: number of replays that may run on this instance without a ramp.
    """

    def __init__(
        self, breaker: CircuitBreaker, most_lanes: int, dependencies: Circuits | None = None
    ) -> None:
        self._breaker = breaker
        self._dependencies = dependencies
        self.limit = min(MOST_REPLAYS, most_lanes)

    @property
    def admits(self) -> bool:
        """Return whether a replay may start an event, now or later in the ramp."""
        return admits_replays(self._breaker.circuit)

    @property
    def most(self) -> int:
        """The number of replays that may run on this instance now.

        After the circuit's closing the number rises with the ramp. While the circuit is half-open,
        each event needs a probe's permit, and the permits are few.
        """
        if not self.admits:
            return 0
        return int(self._breaker.ramp_share * self.limit)

    def most_of(self, need: Need) -> int:
        """Return the number of replays of keys that need a dependency after its circuit closed."""
        return max(1, int(need.breaker.ramp_share * self.limit))

    def find(self, dependency: str) -> CircuitBreaker | None:
        """Return the circuit of a dependency, without I/O; None if this instance knows none."""
        return None if self._dependencies is None else self._dependencies.find(dependency)

    def places(self) -> dict[str, Place]:
        """Return the places of the circuits in their lives, by the dependency's name.

        A circuit that has never opened has none: a waking for it is older than a loss of its data.
        """
        known = {} if self._dependencies is None else self._dependencies.circuits
        places = {name: breaker.circuit.position for name, breaker in known.items()}
        return {name: place for name, place in places.items() if place[0] > 0}

    async def need(self, dependency: str) -> Need | None:
        """Return a dependency with its circuit.

        Args:
            dependency: the name; "" if it is not known.

        Returns:
            None: no name, or a name whose failures count for the app's circuit.
        """
        if not dependency or self._dependencies is None:
            return None
        found = self.find(dependency) or await self._dependencies.use(dependency)
        return None if found is None else Need(dependency, found)

    async def permits(
        self, key: Key, need: Need | None, may_start: Callable[[], bool]
    ) -> Permits | Refusal | None:
        """Return the permits to start an event of a key now; does not wait.

        Args:
            key: the key.
            need: the dependency that the key waits for.
            may_start: returns whether the replay may start an event; asked again after each wait.

        Returns:
            None: the app's circuit admits no event, or the replay may not start one. The key stays
            due.
        """
        if need is not None and not admits_replays(need.breaker.circuit):
            return refusal(need)
        if (app := await self._permit(self._breaker, key, may_start)) is None:
            return None
        if need is None:
            return Permits(app)
        try:
            own = await self._permit(need.breaker, key, may_start)
        except BaseException:
            await self._breaker.release(app)
            raise
        if own is not None:
            return Permits(app, own)
        await self._breaker.release(app)
        return refusal(need) if may_start() else None

    async def _permit(
        self, breaker: CircuitBreaker, key: Key, may_start: Callable[[], bool]
    ) -> Permit | None:
        if not may_start():
            return None
        circuit = breaker.circuit
        if circuit.admits:
            return Permit(circuit.generation)
        try:
            permit = await breaker.try_acquire(key)
        except CircuitOpenError:
            return None
        if may_start():
            return permit
        await breaker.release(permit)
        return None


def admits_replays(circuit: Circuit) -> bool:
    """Return whether a circuit admits replays: it is closed, or half-open and not on hold."""
    return circuit.admits or (circuit.state is CircuitState.HALF_OPEN and not circuit.holding)


def refusal(need: Need) -> Refusal:
    """Return the refusal by a dependency's circuit as it is now."""
    admits = admits_replays(need.breaker.circuit)
    return Refusal(PROBE_PAUSE_SECONDS if admits else OPEN_PAUSE_SECONDS)
