"""The console: one process with the real app, which can be away and comes back as a new process."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette

from breaker import CircuitBreaker
from breaker.alerts.base import AlertPublisher
from breaker.approvals import Caller
from console.app import create_app
from console.circuit.alert_delivery import deliver_remaining_alerts
from console.circuit.circuits import Circuits
from console.settings import ConsoleSettings
from local.workflow.runs.requests import Answer
from processing.site.client import Site
from processing.site.reports import EntrySource
from processing.site.watch import SiteWatch
from tests.chain.asgi import request
from tests.chain.clocks import Background, BreakerClock, Pulse
from tests.chain.faults import LostError
from tests.chain.platform import SETTINGS
from tests.chain.store import EmptiableStore
from tests.support.local.simulated_clock import SimulatedClock

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
        pulse: the moments of the background tasks.
        site: the client of the app's management.
        reports: the reports of the app's instances.
    """

    def __init__(
        self,
        store: EmptiableStore,
        clock: SimulatedClock,
        *,
        publisher: AlertPublisher,
        caller: Caller,
        pulse: Pulse,
        site: Site,
        reports: EntrySource,
    ) -> None:
        self._site, self._reports = site, reports
        self._store = store
        self._clock = BreakerClock(clock)
        self._publisher = publisher
        self._caller = caller
        self._pulse = pulse
        self._background = Background()
        self.settings = ConsoleSettings(token=TOKEN, callback_hosts=(CALLBACK_HOST,))
        self.breaker, self._app = self._process()
        self.away = False

    async def go_away(self) -> None:
        self.away = True
        await self._background.aclose()
        await self.breaker.aclose()

    async def come_back(self) -> None:
        self.breaker, self._app = self._process()
        self.away = False

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
            await self.breaker.aclose()

    def _process(self) -> tuple[CircuitBreaker, Starlette]:
        breaker = CircuitBreaker(
            self._store,
            SETTINGS,
            publisher=self._publisher,
            clock=self._clock,
            instance="console-1",
            caller=self._caller,
        )
        delivery = deliver_remaining_alerts(
            Circuits(breaker),
            ConsoleClock(self._pulse, breaker),
            self.settings.delivery_seconds,
            self.settings.repeat_seconds,
        )
        self._background.start(delivery)
        watch = SiteWatch(breaker, self._site, self._reports, now=self._clock.monotonic)
        return breaker, create_app(breaker, self.settings, watch=watch)
