"""The App panel on a running stack, and the link of a mail or an alert."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.support.console.chromium import Complaints
from tests.support.console.site import READY, Site

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.long
async def test_page_shows_a_stop_and_a_start_once_seen(site: Site) -> None:
    """Another operator's page shows both, and a button that would be refused says why."""
    ada, grace = await site.sign_in("Ada"), await site.sign_in("Grace")
    lines = grace.page.locator("#app-lines")
    await expect(lines).to_contain_text("The local stack says: running (seen ")
    await expect(lines).to_contain_text(re.compile(r"\d instances? reports?: "))
    await expect(ada.page.locator("#app-start")).to_be_disabled()
    await expect(ada.page.locator("#app-start-hint")).to_have_text("The local stack says: running")
    await ada.page.click("#app-stop")
    await expect(ada.page.locator("#confirm-what")).to_contain_text("The circuit stays closed")
    await ada.page.click("#confirm-go")  # without a reason: the browser asks for it
    assert await ada.page.locator("#confirm[open]").count() == 1
    await ada.page.fill("#confirm-reason", "deploying")
    await ada.page.click("#confirm-go")
    await expect(ada.page.locator("#toasts")).to_contain_text("Stop asked, accepted.")
    await expect(lines).to_contain_text(re.compile(r"Stop asked at .* UTC by Ada, accepted\."))
    await expect(lines).to_contain_text("The local stack says: stopped (seen ")
    await expect(lines).to_contain_text("; the last report came at ")
    await expect(grace.page.locator("#app-stop")).to_be_disabled()
    await expect(grace.page.locator("#log")).to_contain_text("asked to stop the app: deploying")
    await expect(grace.page.locator("#history")).to_contain_text(
        "stop asked, accepted (HTTP 200; deploying), by Ada"
    )
    await grace.confirm("#app-start")
    for operator in (ada, grace):
        shown = operator.page.locator("#app-lines")
        await expect(shown).to_contain_text(re.compile(r"Start asked at .* UTC by Grace, accepted"))
        await expect(shown).to_contain_text("The local stack says: running (seen ")
        await expect(shown).to_contain_text(re.compile(r"\d instances? reports?: "))


async def test_link_tells_whether_its_opening_has_passed(site: Site) -> None:
    """The link survives the login, and follows the circuit until the operator dismisses it."""
    generation = await site.open()
    profile = await site.browser.new_context()
    page = await profile.new_page()
    complaints = Complaints(page)
    link = f"{site.endpoints.console_url}/?circuit=breakwater&generation={generation}"
    try:
        await page.goto(link)
        await page.fill("#name", "Ada")
        await page.fill("#token", site.endpoints.console_token)
        await page.press("#token", "Enter")
        await page.wait_for_selector(READY)
        assert page.url == link
        text = page.locator("#link-text")
        await expect(text).to_have_text(
            f"This link is about generation {generation}. It is the current opening and waits "
            "for an approval."
        )
        await site.close()
        await expect(text).to_have_text(
            re.compile(f"generation {generation}\\. It was .*closed by the test at .* is closed")
        )
        await site.open()
        await expect(text).to_contain_text(
            f"The circuit is now in generation {generation + 1}, open."
        )
        # A browser sends no cookie of the session with a link on another site's page.
        await page.goto(link.replace("/?", "/login?"))
        await page.wait_for_selector(READY)
        assert page.url == link
        await page.click("#link-close")
        await expect(page.locator("#link")).to_be_hidden()
        assert page.url == f"{site.endpoints.console_url}/"
    finally:
        await profile.close()
    complaints.ignore("401")  # the login page asks whether there is a session
    assert complaints.found == []
