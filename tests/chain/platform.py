"""The function app as a resource of the platform, with its instances."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from breaker import BreakerError, BreakerSettings, CircuitBreaker, CircuitState
from breaker.alerts.base import AlertPublisher
from breaker.approvals import Caller
from tests.chain.clocks import BreakerClock
from tests.chain.store import EmptiableStore
from tests.support.local.simulated_clock import SimulatedClock

SETTINGS = BreakerSettings(failure_threshold=1, half_open_permits=1)
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
    """

    def __init__(
        self,
        store: EmptiableStore,
        clock: SimulatedClock,
        publisher: AlertPublisher,
        caller: Caller,
    ) -> None:
        self._store = store
        self._clock = BreakerClock(clock)
        self._publisher = publisher
        self._caller = caller
        self._failures = itertools.count(1)
        self._breaker: CircuitBreaker | None = None

    async def start(self) -> None:
        if self._breaker is None:
            self._breaker = self._instance(self._publisher)

    async def stop(self) -> None:
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            await breaker.aclose()

    async def tick(self) -> None:
        """Do what an instance does now and then."""
        if (breaker := self._breaker) is None:
            return
        circuit = await breaker.refresh()
        if circuit.state is CircuitState.HALF_OPEN:
            permit = await breaker.try_acquire()
            await breaker.record_successes(1, permit)
        with contextlib.suppress(BreakerError):  # the next moment retries
            await breaker.deliver_alerts()

    async def open(self) -> None:
        """Open the circuit by a failure; an instance that is being stopped dies right after."""
        breaker = self._breaker or self._instance(None)
        permit = await breaker.try_acquire()
        await breaker.record_failure(f"event-{next(self._failures)}", "ConnectionError", permit)
        if breaker is not self._breaker:
            await breaker.aclose()

    def _instance(self, publisher: AlertPublisher | None) -> CircuitBreaker:
        return CircuitBreaker(
            self._store,
            SETTINGS,
            publisher=publisher,
            clock=self._clock,
            instance="instance-1",
            caller=self._caller,
        )
