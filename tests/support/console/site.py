"""A stack with a running app and two consoles, and what a test does to it from outside."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient
from playwright.async_api import Browser, Locator, Page, ViewportSize, expect
from redis.asyncio import Redis

from breaker import CircuitBreaker, CircuitState
from breaker.__main__ import build
from loadtest.target.endpoints import Endpoints
from local.services.console import console_service
from tests.support.console.chromium import WATCH, Complaints
from tests.support.forked import Forked
from tests.support.patience import HANG_SECONDS
from tests.support.processes import wait_for

READY = "body[data-connection=live]:not([data-state=unknown])"
DESK: ViewportSize = {"width": 1280, "height": 720}


@dataclass
class Operator:
    """A page that somebody is signed in to.

    Attributes:
        kept: for what others the browser's profile is kept; "": for nobody.
    """

    page: Page
    complaints: Complaints
    kept: str

    async def confirm(self, button: str) -> None:
        """Press a button and confirm."""
        await self.page.click(button)
        await self.page.click("#confirm-go")

    async def poison_rows(self, key: str, count: int = 1) -> Locator:
        """The poison queue's rows once they are those of that key, so many, and no others: until
        the page has looked, what it showed before stays, and ours may be among that.
        """
        await self.page.fill("#poison-query", key)
        rows = self.page.locator("#poison tr")
        await expect(rows).to_have_text([re.compile(re.escape(key))] * count)
        return rows

    async def until_state(self, *states: str) -> None:
        """Wait until the page shows one of the states."""
        await self.page.wait_for_selector(
            ",".join(f"body[data-state={state}]" for state in states), timeout=90_000
        )

    async def shifts(self) -> list[tuple[float, str]]:
        """Layout shifts since the last call, with what moved."""
        found: list[tuple[float, str]] = await self.page.evaluate("window.shifts.splice(0)")
        return found


@dataclass
class Site:
    """The running system.

    Attributes:
        endpoints: of the stack, its own console among them.
        second_port: of the second console.
        directory: for logs and reports.
        operators: who is there now.
        idle: profiles that nobody uses now. A new one costs Chromium some processes, more than
            all that most tests do on their page.
    """

    endpoints: Endpoints
    endpoints_file: Path
    second_port: int
    directory: Path
    browser: Browser
    operators: list[Operator] = field(default_factory=list)
    idle: list[Operator] = field(default_factory=list)

    @property
    def second_url(self) -> str:
        """The second console."""
        return f"http://127.0.0.1:{self.second_port}"

    @contextmanager
    def second_console(self) -> Iterator[None]:
        """Run the second console."""
        service = console_service(
            self.second_port,
            token=self.endpoints.console_token,
            app_settings=self.endpoints.app_settings(),
        )
        log = self.directory / "second-console.log"
        environment = os.environ | dict(service.environment)
        process = Forked(*service.command[2:], output=log, environment=environment)
        try:
            wait_for(self._second_answers, f"the second console: see {log}")
            yield
            process.send_signal(signal.SIGTERM)
            process.wait(HANG_SECONDS)
        finally:
            process.kill()

    def _second_answers(self) -> bool:
        try:
            return httpx.get(f"{self.second_url}/healthz").is_success
        except httpx.TransportError:
            return False

    async def sign_in(
        self,
        name: str,
        url: str | None = None,
        *,
        viewport: ViewportSize = DESK,
        color_scheme: Literal["light", "dark"] = "light",
        **device: Any,
    ) -> Operator:
        """A page that somebody is signed in to, and live.

        Args:
            name: whose.
            url: of another console than the stack's own.
            viewport: the page's size.
            color_scheme: what the operator's desktop prefers.
            device: what else is asked of a browser profile, which is then a new one.
        """
        operator = await self.come(name, url, keep="" if device else "plain", **device)
        await operator.page.set_viewport_size(viewport)
        await operator.page.emulate_media(color_scheme=color_scheme)
        await operator.page.goto(url or self.endpoints.console_url)
        await operator.page.wait_for_selector(READY)
        return operator

    async def come(
        self, name: str, url: str | None = None, *, keep: str, **device: Any
    ) -> Operator:
        """Somebody with a session, before a page that is not the console's yet.

        Args:
            name: whose.
            url: as above.
            keep: what others the profile is kept for: what one of them did to the browser itself,
                such as its clock, stays done. "": for nobody.
            device: as above.
        """
        url = url or self.endpoints.console_url
        operator = next((each for each in self.idle if each.kept == keep), None)
        if operator is not None:
            self.idle.remove(operator)
            operator.complaints.found.clear()
        else:
            profile = await self.browser.new_context(**device)
            await profile.add_init_script(WATCH)
            page = await profile.new_page()
            operator = Operator(page, Complaints(page), keep)
        self.operators.append(operator)
        answer = await operator.page.context.request.post(
            f"{url}/login",
            data={"name": name, "token": self.endpoints.console_token},
            headers={"Origin": url},
        )
        assert answer.status == 204, await answer.text()
        return operator

    async def leave(self) -> None:
        """All go, and leave nothing for whoever comes next: no cookie, no choice, no page."""
        while self.operators:
            operator = self.operators.pop()
            page, profile = operator.page, operator.page.context
            if not operator.kept:
                await profile.close()
                continue
            await page.unroute_all()
            await page.evaluate("localStorage.clear()")
            # Not about:blank: that, and what comes after it, each get a process of their own.
            await page.goto(f"{self.endpoints.console_url}/login")
            await profile.clear_cookies()
            self.idle.append(operator)

    @asynccontextmanager
    async def breaker(self) -> AsyncIterator[CircuitBreaker]:
        """The app's circuit, as one more instance of the app has it."""
        async with build(self.endpoints.app_settings()) as breaker:
            yield breaker

    async def open(self, error: str = "the ledger is down") -> int:
        """A real opening, by failures; the generation."""
        async with self.breaker() as breaker:
            circuit = await breaker.refresh()
            number = 0
            while circuit.state is CircuitState.CLOSED:
                number += 1
                permit = await breaker.try_acquire()
                failure = f"test/{circuit.generation}/{number}"
                circuit = await breaker.record_failure(failure, error, permit)
            return circuit.generation

    async def close(self) -> None:
        """Leave the circuit as the next test expects it."""
        async with self.breaker() as breaker:
            circuit = await breaker.refresh()
            if circuit.state is not CircuitState.CLOSED:
                await breaker.close_circuit(circuit.generation, "the test")

    async def send(self, run: str, *events: tuple[str, bytes, dict[str, Any]]) -> None:
        """Send events of (key, body, properties)."""
        hub = EventHubProducerClient.from_connection_string(
            self.endpoints.event_hub_connection, eventhub_name=self.endpoints.event_hub_name
        )
        async with hub:
            for key, body, properties in events:
                event = EventData(body)
                event.properties = {str(name): value for name, value in properties.items()}
                event.properties["run"] = run
                await hub.send_batch([event], partition_key=key)

    def redis(self) -> Redis:
        """The stack's Redis."""
        return Redis.from_url(self.endpoints.redis_url)

    def report(self) -> dict[str, Any]:
        """What the last run of the load test found."""
        found: dict[str, Any] = json.loads((self.directory / "report.json").read_text())
        return found
