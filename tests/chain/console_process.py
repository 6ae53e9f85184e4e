"""The console: one process with the real app, which can be away and comes back as a new process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.applications import Starlette

from breaker import CircuitBreaker, Waiting
from breaker.alerts.base import AlertPublisher
from breaker.approvals import Caller
from breaker.configuration.pipelines import DEFAULT
from console.app import create_console
from console.backplane.coordination import MemoryCoordination
from console.circuit.alert_delivery import deliver_remaining_alerts
from console.circuit.circuits import Circuits
from console.pipelines.parts import PipelineParts
from console.settings import ConsoleSettings
from local.workflow.runs.requests import Answer
from processing.site.client import Site
from processing.site.reports import EntrySource
from processing.site.watch import SiteWatch
from tests.chain.asgi import request
from tests.chain.circuits import ProcessCircuits
from tests.chain.clocks import Background, BreakerClock, Pulse
from tests.chain.faults import LostError
from tests.chain.kinds import OTHER_PIPELINE, OTHER_SETTINGS, PIPELINE, Kind
from tests.chain.store import Stores

TOKEN = "t" * 16
CALLBACK_HOST = "callback"


class ConsoleClock(BreakerClock):
    """A clock whose sleep ends at the next moment of the world, with a fresh look at the circuit.

    The console's watcher polls twice a second, which the matrix cannot afford.
    """

    def __init__(self, pulse: Pulse, breaker: CircuitBreaker) -> None:
        super().__init__(pulse.clock)
        self._pulse = pulse
        self._breaker = breaker

    async def sleep(self, seconds: float) -> None:
        await self._pulse.next()
        await self._breaker.refresh()


class ConsoleProcess:
    """The console's current process.

    The app runs without its lifespan. Of its background tasks the delivery of alerts and callbacks
    runs, at moments that the world chooses; the watcher's poll runs at the same moments.

    Args:
        kind: the kind of the circuit that opens.
        stores: the stores of the circuits.
        pulse: the moments of the background tasks.
        site: the client of the app's management.
        reports: the reports of the app's instances.
    """

    def __init__(
        self,
        kind: Kind,
        stores: Stores,
        *,
        publisher: AlertPublisher,
        caller: Caller,
        pulse: Pulse,
        site: Site,
        reports: EntrySource,
    ) -> None:
        self._site, self._reports = site, reports
        self.kind = kind
        self._stores = stores
        self._publisher = publisher
        self._caller = caller
        self._pulse = pulse
        self._background = Background()
        self.settings = ConsoleSettings(token=TOKEN, callback_hosts=(CALLBACK_HOST,))
        self.circuits, self._app = self._process()
        self.away = False

    async def start(self) -> None:
        await self.circuits.start()

    async def go_away(self) -> None:
        self.away = True
        await self._background.aclose()
        await self.circuits.aclose()

    async def come_back(self) -> None:
        self.circuits, self._app = self._process()
        await self.circuits.start()
        self.away = False

    async def waiting(self) -> tuple[Waiting, ...]:
        """Return the runs of the workflow that wait for a decision about the circuit."""
        circuit = self.circuits.own
        return () if circuit is None else (await circuit.approvals.status()).waiting

    async def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request, by default with the console's token.

        Raises:
            LostError: the console is away.
        """
        if self.away:
            raise LostError("the console is away")
        if headers is None:
            headers = {"authorization": f"Bearer {TOKEN}"}
        return await request(self._app, method, path, headers, body)

    async def aclose(self) -> None:
        await self._background.aclose()
        if not self.away:
            await self.circuits.aclose()

    def _process(self) -> tuple[ProcessCircuits, Starlette]:
        own = ProcessCircuits(
            self.kind,
            self._stores,
            self._pulse,
            publisher=self._publisher,
            caller=self._caller,
            instance="console-1",
        )
        clock = ConsoleClock(self._pulse, own.app)
        delivery = deliver_remaining_alerts(
            Circuits(own.app, own.dependencies),
            clock,
            self.settings.delivery_seconds,
            self.settings.repeat_seconds,
        )
        self._background.start(delivery)
        watch = SiteWatch(own.app, self._site, self._reports, now=clock.monotonic)
        parts = PipelineParts(
            breaker=own.app,
            name=PIPELINE if self.kind is Kind.PIPELINE else DEFAULT,
            declared=self.kind is Kind.PIPELINE,
            dependencies=own.dependencies,
            coordination=MemoryCoordination(),
            watch=watch,
        )
        return own, create_console([parts, *self._other()], self.settings)

    def _other(self) -> Iterator[PipelineParts]:
        """Yield the other pipeline of an app with pipelines."""
        if self.kind is Kind.PIPELINE:
            other = CircuitBreaker(
                self._stores.other, OTHER_SETTINGS, clock=BreakerClock(self._pulse.clock)
            )
            yield PipelineParts(
                breaker=other,
                name=OTHER_PIPELINE,
                declared=True,
                coordination=MemoryCoordination(),
            )
