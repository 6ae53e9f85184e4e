"""The simulated fleet: instances that share a store, and the partitions that they own."""

from __future__ import annotations

from breaker import BreakerSettings, CircuitState
from breaker.state import Circuit
from processing.settings import ProcessingSettings
from tests.unit.breaker.simulation.downstream import Downstream
from tests.unit.breaker.simulation.instance import PUSH_US, Instance, SharedStore
from tests.unit.breaker.simulation.partition import Partition
from tests.unit.breaker.simulation.world import START_US, World


class Fleet:
    """Instances, partitions, their traffic and what the handlers call.

    Args:
        world: the clock.
        downstream: the outcome of each call.
        instances: number of instances; they own the partitions in turn.
        partitions: number of partitions.
        deferring: whether a failing key steps aside (issue 6 of 11) or is kept in place.

    Attributes:
        first_failure: microseconds of the start of the first call that failed.
        opened: microseconds of each opening.
        closed: microseconds of each closing.
        stop_at_opening, stop_at_closing: end the run at the next opening or closing.
    """

    def __init__(
        self,
        world: World,
        downstream: Downstream,
        *,
        instances: int = 2,
        partitions: int = 4,
        deferring: bool = False,
        settings: ProcessingSettings | None = None,
        breaker: BreakerSettings | None = None,
        stop_at_opening: bool = True,
    ) -> None:
        self.world = world
        self.downstream = downstream
        self.deferring = deferring
        self.settings = settings or ProcessingSettings()
        self.breaker_settings = breaker or BreakerSettings()
        self.batch_size = 1_000
        self.store = SharedStore(world, self.breaker_settings.name)
        self.store.pushed = self._push
        self.stop_at_opening = stop_at_opening
        self.stop_at_closing = False
        self._started = 0
        self.successes = 0
        self.first_failure: int | None = None
        self.opened: list[int] = []
        self.closed: list[int] = []
        self.instances = [self._instance() for _ in range(instances)]
        self.partitions = [
            Partition(self, str(number), self.instances[number % instances])
            for number in range(partitions)
        ]

    @property
    def state(self) -> CircuitState:
        """The circuit's state in the store."""
        return self.store._record.state

    @property
    def reason(self) -> str:
        """The reason of the last opening."""
        return self.store.openings[-1] if self.store.openings else "-"

    def opened_after(self) -> float | None:
        """Return the seconds from the first call that failed to the opening; None if closed."""
        if not self.opened or self.first_failure is None:
            return None
        return (self.opened[0] - self.first_failure) / 1_000_000

    def call_fails(self) -> None:
        """Note the start of a call that fails."""
        if self.first_failure is None:
            self.first_failure = self.world.now

    def forget_failures(self) -> None:
        """Count the time to the opening from the next call that fails."""
        self.first_failure = None

    def times(self) -> list[float]:
        """Return the openings in seconds since the start."""
        return [(at - START_US) / 1_000_000 for at in self.opened]

    def restart(self, index: int, seconds: float) -> None:
        """Stop an instance; others own its partitions until a new one starts after `seconds`."""
        old = self.instances[index]
        old.stop()
        moved = [partition for partition in self.partitions if partition.owner is old]
        others = [one for one in self.instances if not one.stopping]
        for number, partition in enumerate(moved):
            partition.move(others[number % len(others)] if others else None)

        def start() -> None:
            new = self.instances[index] = self._instance()
            for partition in moved:
                partition.move(new)

        self.world.after(round(seconds * 1_000_000), start)

    def _instance(self) -> Instance:
        self._started += 1
        return Instance(self.world, self.store, self.breaker_settings, f"instance-{self._started}")

    def _push(self, circuit: Circuit) -> None:
        if circuit.state is CircuitState.OPEN:
            self.opened.append(self.world.now)
            self.world.stopped = self.stop_at_opening
        if circuit.state is CircuitState.CLOSED:
            self.closed.append(self.world.now)
            self.world.stopped = self.stop_at_closing
        self.world.after(PUSH_US, lambda: self._learn(circuit))

    def _learn(self, circuit: Circuit) -> None:
        for instance in self.instances:
            instance.learn(circuit)
        if circuit.state is CircuitState.CLOSED:
            for partition in self.partitions:
                for deferred in list(partition.deferred.values()):
                    deferred.replay_now()
