"""The function app as a resource of the platform, with its instances."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from breaker import BreakerError, CircuitState
from breaker.alerts.base import AlertPublisher
from tests.chain.circuits import ProcessCircuits
from tests.support.local.simulated_clock import SimulatedClock

REPORT_SECONDS = 5.0
DRAIN_SECONDS = 20.0


@dataclass(frozen=True)
class Operation:
    """A stop or start that the platform has carried out."""

    kind: str
    at: float


@dataclass
class Site:
    """The site: running or stopped, with two instances that report while they run.

    Attributes:
        running: the state.
        operations: what was carried out, oldest first.
        changed: called after each operation.
    """

    clock: SimulatedClock
    changed: Callable[[], None] = lambda: None
    running: bool = True
    operations: list[Operation] = field(default_factory=list)
    instances: tuple[str, ...] = ("instance-1", "instance-2")

    def apply(self, kind: str) -> None:
        self.operations.append(Operation(kind, self.clock.now()))
        self.running = kind == "start"
        self.changed()

    @property
    def stopped_at(self) -> float | None:
        """The time of the stop after which nothing has started the site; None while it runs."""
        if self.running:
            return None
        since = None
        for operation in reversed(self.operations):
            if operation.kind == "start":
                break
            since = operation.at
        return since

    def reports(self) -> dict[str, float]:
        """Return the time of each instance's latest report."""
        now = self.clock.now()
        stopped = self.stopped_at
        latest = now if stopped is None else min(now, stopped + DRAIN_SECONDS)
        return dict.fromkeys(self.instances, latest - latest % REPORT_SECONDS)


class FunctionApp:
    """An instance of the function app, which exists while the site runs.

    The instance holds while the circuit is not closed. In HALF_OPEN a probe succeeds. Like the
    app's timer function the instance delivers the alerts that nobody has delivered.

    Args:
        process: returns the circuits of a new process with a publisher of alerts.
        publisher: the publisher of an instance that lives.
    """

    def __init__(
        self, process: Callable[[AlertPublisher | None], ProcessCircuits], publisher: AlertPublisher
    ) -> None:
        self._process = process
        self._publisher = publisher
        self._failures = itertools.count(1)
        self._circuits: ProcessCircuits | None = None

    async def start(self) -> None:
        if self._circuits is None:
            self._circuits = self._process(self._publisher)
            await self._circuits.start()

    async def stop(self) -> None:
        circuits, self._circuits = self._circuits, None
        if circuits is not None:
            await circuits.aclose()

    async def tick(self) -> None:
        """Do what an instance does now and then."""
        if self._circuits is None:
            return
        breaker = await self._circuits.use()
        circuit = await breaker.refresh()
        if circuit.state is CircuitState.HALF_OPEN:
            permit = await breaker.try_acquire()
            await breaker.record_successes(1, permit)
        with contextlib.suppress(BreakerError):  # the next moment retries
            await breaker.deliver_alerts()

    async def open(self) -> None:
        """Open the circuit by a failure; an instance that is being stopped dies right after."""
        circuits = self._circuits or self._process(None)
        breaker = await circuits.use()
        await breaker.refresh()
        permit = await breaker.try_acquire()
        await breaker.record_failure(f"event-{next(self._failures)}", "ConnectionError", permit)
        if circuits is not self._circuits:
            await circuits.aclose()
