"""What an operator's hand does: it discards on record, slips, and is not led astray by a dialog."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from playwright.async_api import Route, expect

from tests.support.console.site import READY, Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

ACTIVE = "document.activeElement.id"


async def test_an_event_is_discarded_on_record(site: Site) -> None:
    """With a reason, after a word of what will happen; who comes second is refused."""
    ada, grace = await site.sign_in("Ada"), await site.sign_in("Grace")
    run = f"discard-{secrets.token_hex(3)}"
    await site.send(run, (run, b'{"amount": "NaN"}', {"simulate": "poison"}))
    for operator in (ada, grace):
        rows = await operator.poison_rows(run)
        await rows.locator("button.link").click()
        await operator.page.click("#event-discard")
    told = await ada.page.text_content("#confirm")
    assert told is not None
    assert "The handler will never see this event." in told
    assert run in told
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
    await expect(refused).to_contain_text("it is not in the poison queue (any more)")
    grace.complaints.forgive("409")


async def test_a_page_begins_though_the_console_is_restarted(site: Site) -> None:
    """What it asks first is asked again; meanwhile it says what it waits for."""
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
    ada.complaints.forgive("Failed to load resource")


async def test_who_cannot_sign_out_is_told(site: Site) -> None:
    """The cookie is the server's: a page that only goes away leaves somebody signed in."""
    ada = await site.sign_in("Ada")
    await ada.page.route("**/logout", lambda route: route.abort())
    await ada.page.click("#logout")
    await expect(ada.page.locator("#toasts")).to_contain_text("You are still signed in")
    assert await ada.page.locator("#circuit").count() == 1
    ada.complaints.forgive("Failed to load resource")


async def test_a_closed_dialog_does_not_undo(site: Site) -> None:
    """What was confirmed and then closed is done: the page says so, and closes no other dialog."""
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


async def test_a_key_that_is_held_down_asks_and_does_not_answer(site: Site) -> None:
    """And when the act is done the keyboard is where it was: at the circuit."""
    await site.open()
    ada = await site.sign_in("Ada")
    await ada.until_state("open")  # its console may hear of it later than the page is there
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
