"""The panel of dependencies: state, age, what happens next, and an operator's decision."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    DependencyCircuits,
    DependencySettings,
    MemoryCircuitStore,
    MemoryDependencyStore,
    Permit,
)
from console.app import create_app
from console.settings import ConsoleSettings
from tests.support.console.chromium import EXECUTABLE, WATCH, Complaints, chromium
from tests.support.console.server import TOKEN, serving
from tests.support.console.site import READY
from tests.support.console.skipped import NO_CHROMIUM

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(EXECUTABLE is None, reason=NO_CHROMIUM),
]
APP = BreakerSettings(failure_threshold=2, half_open_permits=1)
VALUES = {"DEPENDENCY_BANK_RECOVERY": "manual", "DEPENDENCY_MAIL_BREAK_SECONDS": "600"}


@dataclass
class Desk:
    """An operator's page and the circuits behind it."""

    page: Page
    url: str
    dependencies: DependencyCircuits

    async def fail(self, name: str, times: int) -> CircuitBreaker:
        """Record failures of a dependency."""
        circuit = await self.dependencies.use(name)
        assert circuit is not None
        for number in range(times):
            permit = Permit(circuit.circuit.generation)
            await circuit.record_failure(f"events/0/{number}", "HTTP 503", permit)
        return circuit

    def row(self, name: str) -> Locator:
        return self.page.locator(f'#dependencies tr[data-circuit="breakwater/{name}"]')


@asynccontextmanager
async def desk(**device: Any) -> AsyncIterator[Desk]:
    breaker = CircuitBreaker(MemoryCircuitStore(APP.name), APP)
    settings = DependencySettings.from_mapping(VALUES, APP)
    dependencies = DependencyCircuits(MemoryDependencyStore(APP.name), settings)
    own = ConsoleSettings(token=TOKEN)
    app = create_app(breaker, own, dependencies=dependencies)
    async with serving(app, own) as served, chromium() as browser:
        profile = await browser.new_context(**device)
        await profile.add_init_script(WATCH)
        page = await profile.new_page()
        complaints = Complaints(page)
        login = {"name": "ann", "token": TOKEN}
        origin = {"Origin": served.url}
        answer = await page.context.request.post(f"{served.url}/login", data=login, headers=origin)
        assert answer.status == 204
        await page.goto(served.url)
        await page.wait_for_selector(READY)
        yield Desk(page, served.url, dependencies)
        complaints.ignore("503")  # this console has no poison queue
        assert complaints.found == []


async def test_operator_sees_an_outage_of_one_dependency_and_decides() -> None:
    """The app's circuit stays closed, and the page says which events wait and what a button does.

    The panel is hidden while no dependency is known.
    """
    async with desk(viewport={"width": 1440, "height": 900}) as at:
        page = at.page
        await expect(page.locator("#dependencies-panel")).to_be_hidden()
        await at.fail("ledger", 1)
        await at.fail("mail", 2)
        await at.fail("bank", 2)
        bank, mail, ledger = at.row("bank"), at.row("mail"), at.row("ledger")
        await expect(bank).to_contain_text("Waits for an approval")
        await expect(bank).to_contain_text("asks for approval")
        await expect(bank).to_contain_text("2 of 2")
        await expect(bank).to_contain_text("last error: HTTP 503")
        await expect(mail).to_contain_text("Half-open by itself in ")
        await expect(ledger).to_contain_text("Closed")
        await expect(ledger).to_contain_text("1 of 2")
        await expect(page.locator("#dependencies-note")).to_have_text(
            "bank open, mail open: events that need them wait"
        )
        await expect(page.locator("#state")).to_have_text("Closed")
        await expect(page.locator("#reason")).to_contain_text("bank is open, mail is open")
        await expect(page).to_have_title("bank OPEN · breakwater")
        await expect(ledger.get_by_role("button", name="Approve ledger")).to_be_disabled()
        await bank.get_by_role("button", name="Approve bank").click()
        dialog = page.locator("#confirm")
        await expect(dialog).to_contain_text("Approve generation 1 of bank?")
        await expect(dialog).to_contain_text("The app is neither stopped nor started.")
        await expect(dialog).to_contain_text("generation 2 opens and needs a new approval")
        await expect(dialog).to_contain_text("HTTP 503")
        await page.click("#confirm-go")
        await expect(page.locator("#toasts")).to_contain_text("Generation 1 of bank is approved.")
        await expect(bank).to_contain_text("0 of 1 probes succeeded")
        await expect(page.locator("#log")).to_contain_text("approved breakwater/bank generation 1")
        opening = page.locator("#history > li", has_text="bank #1")
        await expect(opening).to_contain_text("approved by ann")
        await bank.get_by_role("button", name="Close bank").click()
        await page.click("#confirm-go")
        await expect(bank).to_contain_text("Calls are admitted")
        await mail.get_by_role("button", name="Isolate mail").click()
        await page.fill("#confirm-reason", "the provider moves")
        await page.click("#confirm-go")
        await expect(mail).to_contain_text("Isolated until an operator closes it")
        await expect(opening).to_contain_text("closed")


@pytest.mark.long
async def test_open_dialog_notices_that_another_operator_decided() -> None:
    async with desk() as at:
        bank = await at.fail("bank", 2)
        await at.row("bank").get_by_role("button", name="Approve bank").click()
        await bank.approve(1, "grace")
        await expect(at.page.locator("#confirm-changed")).to_contain_text(
            "it is now half-open, generation 1, by grace"
        )


async def test_link_of_a_mail_opens_the_dependency() -> None:
    async with desk() as at:
        bank = await at.fail("bank", 2)
        await at.page.goto(f"{at.url}/?circuit=breakwater%2Fbank&generation=1")
        text = at.page.locator("#link-text")
        await expect(text).to_have_text(
            "This link is about generation 1 of bank. It is the current opening and waits for an "
            "approval."
        )
        await expect(at.row("bank")).to_have_attribute("data-linked", "")
        await bank.approve(1, "grace")
        await bank.close_circuit(1, "grace")
        await expect(text).to_contain_text("closed by grace")
        await expect(text).to_contain_text("The circuit of bank is closed.")
        await at.page.click("#link-close")
        await expect(at.row("bank")).not_to_have_attribute("data-linked", "")
        await at.page.goto(f"{at.url}/?circuit=breakwater%2Fmail&generation=1")
        await expect(text).to_have_text(
            "This link is about circuit breakwater/mail, which this console does not know."
        )


@pytest.mark.long
async def test_panel_fits_a_phone() -> None:
    """Each dependency becomes a card, and nothing is wider than the screen."""
    async with desk(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as at:
        await at.fail("bank", 2)
        await expect(at.row("bank")).to_contain_text("Waits for an approval")
        wide = await at.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390
        button = at.row("bank").get_by_role("button", name="Isolate bank")
        box = await button.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390
