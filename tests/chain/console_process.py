"""The console: one process with the real app, which can be away and comes back as a new process."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette

from breaker import BreakerError, CircuitBreaker
from breaker.alerts.base import AlertPublisher
from breaker.approvals import Caller
from console.app import create_app
from console.settings import ConsoleSettings
from local.workflow.runs.requests import Answer
from tests.chain.asgi import request
from tests.chain.clocks import BreakerClock
from tests.chain.faults import LostError
from tests.chain.platform import SETTINGS
from tests.chain.store import EmptiableStore
from tests.support.local.simulated_clock import SimulatedClock

TOKEN = "t" * 16
CALLBACK_HOST = "callback"


class ConsoleProcess:
    """The console's current process.

    The app runs without its lifespan. `tick` does the work of the background tasks that concern
    the chain: the watcher's poll and the delivery of alerts and callbacks.
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
        self.settings = ConsoleSettings(token=TOKEN, callback_hosts=(CALLBACK_HOST,))
        self.breaker, self._app = self._process()
        self.away = False

    async def go_away(self) -> None:
        self.away = True
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

    async def tick(self) -> None:
        """Poll the circuit, and deliver alerts and callbacks."""
        if self.away:
            return
        try:
            await self.breaker.refresh()
            await self.breaker.deliver_alerts()
        except BreakerError:  # the next round retries
            pass

    async def aclose(self) -> None:
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
        return breaker, create_app(breaker, self.settings)
