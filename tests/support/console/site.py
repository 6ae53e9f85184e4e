"""A stack with a running app and two consoles, and the actions of a test on them."""

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
from breaker.cli.circuits import build
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
    """The page of an operator who has signed in.

    Attributes:
        page: the page.
        complaints: unexpected errors and requests of the page.
        kept: group of tests that may reuse the browser profile; "" for none.
    """

    page: Page
    complaints: Complaints
    kept: str

    async def confirm(self, button: str) -> None:
        """Click a button and confirm the dialog."""
        await self.page.click(button)
        await self.page.click("#confirm-go")

    async def poison_rows(self, key: str, count: int = 1) -> Locator:
        """Search the poison queue for a key, and return the rows once they are exactly `count`.

        Until the search has run, the page shows its earlier rows, which may include these rows.
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
        """Return the layout shifts since the last call, each with the elements that moved."""
        found: list[tuple[float, str]] = await self.page.evaluate("window.shifts.splice(0)")
        return found


@dataclass
class Site:
    """The running system.

    Attributes:
        endpoints: endpoints of the stack, including its own console.
        endpoints_file: the file with the endpoints.
        second_port: port of the second console.
        directory: folder of logs and reports.
        browser: the browser of all pages.
        operators: operators with an open page.
        idle: pages for reuse. A new browser profile costs Chromium several processes, which is
            more work than most tests do on their page.
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
        """Address of the second console."""
        return f"http://127.0.0.1:{self.second_port}"

    @contextmanager
    def second_console(self, **app_settings: str) -> Iterator[None]:
        """Run the second console, with the stack's app settings and the given ones."""
        service = console_service(
            self.second_port,
            token=self.endpoints.console_token,
            app_settings={**self.endpoints.app_settings(), **app_settings},
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
        """Sign an operator in and return the operator's page once it is live.

        Args:
            name: the operator's name.
            url: address of the console; default: the stack's own console.
            viewport: the page's size.
            color_scheme: the preference of the operator's desktop.
            device: options of a new browser profile; without options a profile may be reused.
        """
        operator = await self.start_session(name, url, keep="" if device else "plain", **device)
        await operator.page.set_viewport_size(viewport)
        await operator.page.emulate_media(color_scheme=color_scheme)
        await operator.page.goto(url or self.endpoints.console_url)
        await operator.page.wait_for_selector(READY)
        return operator

    async def start_session(
        self, name: str, url: str | None = None, *, keep: str, **device: Any
    ) -> Operator:
        """Create a session for an operator whose page has not opened the console yet.

        Args:
            name: the operator's name.
            url: see `sign_in`.
            keep: group of tests that may reuse the browser profile, including changes such as a
                stopped clock; "" for none.
            device: see `sign_in`.
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

    async def reset(self) -> None:
        """Remove cookies, choices and pages of all operators, and keep reusable profiles."""
        while self.operators:
            operator = self.operators.pop()
            page, profile = operator.page, operator.page.context
            if not operator.kept:
                await profile.close()
                continue
            await page.unroute_all()
            await page.evaluate("localStorage.clear()")
            # Not about:blank, because Chromium starts a new process for that page and the next.
            await page.goto(f"{self.endpoints.console_url}/login")
            await profile.clear_cookies()
            self.idle.append(operator)

    @asynccontextmanager
    async def breaker(self) -> AsyncIterator[CircuitBreaker]:
        """Yield the breaker of another instance of the app."""
        async with build(self.endpoints.app_settings()) as breaker:
            yield breaker

    async def open(self, error: str = "the ledger is down") -> int:
        """Open the circuit by recording failures; return the generation."""
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
        """Close the circuit for the next test."""
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
        """Return a client of the stack's Redis."""
        return Redis.from_url(self.endpoints.redis_url)

    def report(self) -> dict[str, Any]:
        """Return the report of the last load test."""
        found: dict[str, Any] = json.loads((self.directory / "report.json").read_text())
        return found
