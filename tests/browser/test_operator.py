"""Operator input: discards, repeated keys, closed dialogs and failed requests."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from playwright.async_api import Route, expect

from tests.support.console.site import READY, Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

ACTIVE = "document.activeElement.id"


async def test_discard_needs_a_reason_and_is_logged(site: Site) -> None:
    """The dialog states the effect, and the second operator's discard is refused."""
    ada, grace = await site.sign_in("Ada"), await site.sign_in("Grace")
    run = f"discard-{secrets.token_hex(3)}"
    await site.send(run, (run, b'{"amount": "NaN"}', {"simulate": "poison"}))
    for operator in (ada, grace):
        rows = await operator.poison_rows(run)
        async with operator.page.expect_response("**/api/poison/*"):
            await rows.locator("button.link").click()
        await operator.page.click("#event-discard")
    dialog = await ada.page.text_content("#confirm")
    assert dialog is not None
    assert "The handler will never see this event." in dialog
    assert run in dialog
    await ada.page.click("#confirm-go")  # without a reason: the browser asks for it
    assert await ada.page.locator("#confirm[open]").count() == 1
    await ada.page.fill("#confirm-reason", "a test of June")
    await ada.page.click("#confirm-go")
    await expect(grace.page.locator("#job")).to_contain_text("Ada has discarded event")
    for operator in (ada, grace):
        log = operator.page.locator("#log .line", has_text="discarded event").last
        await expect(log).to_contain_text("a test of June")
    await expect(ada.page.locator("#poison tr")).to_have_count(0)
    await expect(ada.page.locator("#pane-poison")).to_be_focused()

    await grace.page.fill("#confirm-reason", "a test of June")
    await grace.page.click("#confirm-go")
    refused = grace.page.locator("#confirm-refused")
    await expect(refused).to_contain_text("is not in the poison queue; nothing was changed")
    grace.complaints.ignore("409")


async def test_page_starts_although_the_console_restarts(site: Site) -> None:
    """The page retries its first request and shows the reason until then."""
    ada = await site.sign_in("Ada")
    refusing = asyncio.Event()

    async def refuse(route: Route) -> None:
        await (route.continue_() if refusing.is_set() else route.abort())

    await ada.page.route("**/api/session", refuse)
    await ada.page.reload()
    await expect(ada.page.locator("#trouble")).to_contain_text("the console does not answer")
    refusing.set()
    await ada.page.wait_for_selector(READY)
    assert await ada.page.text_content("#operator") == "Ada"
    ada.complaints.ignore("Failed to load resource")


async def test_failed_logout_is_shown(site: Site) -> None:
    """Only the server can remove the cookie, so leaving the page would not sign out."""
    ada = await site.sign_in("Ada")
    await ada.page.route("**/logout", lambda route: route.abort())
    await ada.page.click("#logout")
    await expect(ada.page.locator("#toasts")).to_contain_text("You are still signed in")
    assert await ada.page.locator("#circuit").count() == 1
    ada.complaints.ignore("Failed to load resource")


async def test_closing_a_dialog_does_not_undo_its_action(site: Site) -> None:
    """The page reports the confirmed action in a toast and keeps another dialog open."""
    ada = await site.sign_in("Ada")
    generation = await site.open()
    await ada.until_state("open")
    answering = asyncio.Event()

    async def late(route: Route) -> None:
        await answering.wait()
        await route.continue_()

    await ada.page.route("**/approve", late)
    await ada.confirm("#approve")
    await ada.page.keyboard.press("Escape")
    await ada.page.click("#isolate")
    answering.set()
    await expect(ada.page.locator("#toasts")).to_contain_text(
        f"Generation {generation} is approved"
    )
    assert await ada.page.text_content("#confirm-title") == "Isolate the circuit?"
    assert await ada.page.locator("#confirm[open]").count() == 1


async def test_isolation_asks_for_a_reason_and_an_end(site: Site) -> None:
    """The page refuses a blank reason and another form, and shows the end and what follows."""
    ada = await site.sign_in("Ada")
    await ada.page.click("#isolate")
    for reason, length in (("", "2h"), ("  ", "2h"), ("release 12", "two hours")):
        await ada.page.fill("#confirm-reason", reason)
        await ada.page.fill("#confirm-length", length)
        await ada.page.click("#confirm-go")
        assert await ada.page.locator("#confirm:invalid, #confirm :invalid").count() > 0
        assert await ada.page.locator("#confirm[open]").count() == 1
    await ada.page.fill("#confirm-length", "31d")
    await ada.page.click("#confirm-go")
    refused = ada.page.locator("#confirm-refused")
    await expect(refused).to_contain_text("for: '31d' is not a length of time")
    await ada.page.fill("#confirm-length", "2h")
    await ada.page.click("#confirm-go")
    await ada.until_state("isolated")
    shown = ada.page.locator("#reason")
    await expect(shown).to_contain_text("release 12 (for 2h). At ")
    await expect(shown).to_contain_text("the circuit closes.")
    await expect(ada.page.locator("#log .line").last).to_contain_text("isolated for 2h: release 12")

    await ada.page.click("#isolate")
    await expect(ada.page.locator("#confirm-title")).to_have_text("Change the isolation?")
    await ada.page.fill("#confirm-reason", "one more step")
    await ada.page.fill("#confirm-length", "2s")
    await ada.page.click("#confirm-go")
    await ada.until_state("closed")  # by the timer
    item = ada.page.locator("#history > li").first
    await expect(item).to_contain_text("isolated by Ada: one more step (for 2s)")
    await expect(item).to_contain_text("closed by timer")
    ada.complaints.ignore("400")


async def test_page_shows_mode_observe(site: Site) -> None:
    """An operator must not believe that the circuit protects anything."""
    ada = await site.sign_in("Ada")
    await expect(ada.page.locator("#mode")).to_be_hidden()
    with site.second_console(BREAKER_MODE="observe"):
        grace = await site.sign_in("Grace", site.second_url)
        await expect(grace.page.locator("#mode")).to_contain_text("No rule opens the circuit")
        await grace.page.goto(f"{site.endpoints.console_url}/login")  # before its console stops


async def test_held_key_opens_a_dialog_but_does_not_confirm(site: Site) -> None:
    """After the action the circuit panel has the keyboard focus."""
    await site.open()
    ada = await site.sign_in("Ada")
    await ada.until_state("open")  # the console may read the opening after the page has loaded
    await ada.page.focus("#approve")
    for _ in range(4):
        await ada.page.keyboard.down("Enter")
    await ada.page.keyboard.up("Enter")
    assert await ada.page.evaluate(ACTIVE) == "confirm-go"
    assert await ada.page.locator("#confirm[open]").count() == 1
    await ada.page.keyboard.press("Enter")
    await ada.until_state("half_open", "closed")
    await ada.page.wait_for_selector("#approve:disabled")
    await expect(ada.page.locator("#circuit")).to_be_focused()
