"""The list of pipelines: what one page shows of the others, and what its buttons touch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from breaker import CircuitState
from console.settings import ConsoleSettings
from tests.support.console.chromium import EXECUTABLE, WATCH, Complaints, chromium
from tests.support.console.pipelines import Lines
from tests.support.console.server import TOKEN, serving
from tests.support.console.site import READY
from tests.support.console.skipped import NO_CHROMIUM

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(EXECUTABLE is None, reason=NO_CHROMIUM),
]


@dataclass
class Desk:
    """An operator's page and the pipelines behind it."""

    page: Page
    url: str
    lines: Lines

    def row(self, name: str) -> Locator:
        """Return the row of a pipeline in the list."""
        return self.page.locator(f'#pipelines tr[data-pipeline="{name}"]')

    async def visit(self, query: str) -> None:
        """Open the page with a query, until its data are live."""
        await self.page.goto(f"{self.url}/{query}")
        await self.page.wait_for_selector(READY)


@asynccontextmanager
async def desk(**device: Any) -> AsyncIterator[Desk]:
    lines = Lines.of(orders_stops_app=True)
    own = ConsoleSettings(token=TOKEN)
    async with serving(lines.console(own), own) as served, chromium() as browser:
        profile = await browser.new_context(**device)
        await profile.add_init_script(WATCH)
        page = await profile.new_page()
        complaints = Complaints(page)
        login = {"name": "ann", "token": TOKEN}
        origin = {"Origin": served.url}
        answer = await page.context.request.post(f"{served.url}/login", data=login, headers=origin)
        assert answer.status == 204
        yield Desk(page, served.url, lines)
        complaints.ignore("503")  # this console has no poison queue
        assert complaints.found == []


async def test_page_acts_on_its_own_pipeline_and_shows_the_others() -> None:
    """A link's circuit chooses the page; the other pipeline's outage is seen, and left alone."""
    async with desk() as found:
        page, lines = found.page, found.lines
        await lines.orders.open()
        await lines.audit.open()
        await found.visit("?circuit=c-audit&generation=1")
        await expect(page.locator("#circuit-name")).to_have_text("c-audit")
        await expect(page.locator("#link-text")).to_contain_text("waits for an approval")
        await expect(found.row("orders")).to_contain_text("Holds, and asks to stop the app")
        await expect(found.row("audit")).to_contain_text("Holds, the app keeps running")
        await expect(page.locator("#pipelines a[aria-current=page]")).to_have_text("audit")

        await expect(page.locator("#app-holds")).to_be_visible()
        await expect(page.locator("#app-stop")).to_be_hidden()
        await expect(page.locator("#app-start")).to_be_hidden()

        await page.click("#approve")
        await expect(page.locator("#confirm-what")).to_contain_text("The app keeps running.")
        await page.click("#confirm-go")
        await expect(found.row("audit")).to_have_attribute("data-state", "half_open")
        await expect(found.row("orders")).to_have_attribute("data-state", "open")
        assert lines.orders.breaker.circuit.state is CircuitState.OPEN
        await page.click("#link-close")
        assert page.url == f"{found.url}/?pipeline=audit"

        await page.click("#pipelines a >> text=orders")
        await expect(page.locator("body")).to_have_attribute("data-state", "open")
        await expect(page.locator("#circuit-name")).to_have_text("c-orders")
        await expect(page.locator("#app-stop")).to_be_visible()
        await expect(page.locator("#app-holds")).to_be_hidden()

        await page.evaluate("window.shifts.splice(0)")
        await lines.audit.breaker.close_circuit(1, "bob")
        await expect(found.row("audit")).to_have_attribute("data-state", "closed")
        await expect(page.locator("#announce")).to_have_text(
            "The circuit of pipeline audit is closed."
        )
        assert await page.evaluate("window.shifts") == []


async def test_list_names_what_no_circuit_of_a_pipeline_shows() -> None:
    """A dependency's open circuit is in the headline, and a row without an instance says so."""
    async with desk() as found:
        page, lines = found.page, found.lines
        await lines.audit.dependencies.use("bank")
        await lines.audit.dependencies.circuits["bank"].isolate("ann", "x")
        await found.visit("?circuit=breakwater&generation=1")
        await expect(page.locator("#pipelines-note")).to_have_text("audit/bank isolated")
        await expect(page.locator("#link-text")).to_have_text(
            "This link is about circuit breakwater, which this console does not know. "
            "This page is about circuit c-orders."
        )
        heads = "({ state: 'closed', kind: 'pipeline', instances: %s })"
        show = "import('/static/pipelines_view.js').then((its) => its.nextOf(%s))"
        assert await page.evaluate(show % (heads % 0)) == "No instance reports"
        assert await page.evaluate(show % (heads % "null")) == "Lets events through"
