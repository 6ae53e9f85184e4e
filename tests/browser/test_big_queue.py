"""A poison queue and parked lists with several pages, and a redrive on the command line."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import batched

import pytest
from playwright.async_api import Page, expect

from processing.errors import PoisonEventError
from processing.event import Event
from processing.handlers.retry import Failure, FailureKind
from processing.identity import Source
from processing.poison.message import PoisonMessage
from processing.redrive.run_store import RunningRedrive
from processing.wiring import Wiring
from tests.browser.test_parked import deferred_keys
from tests.support.console import poison_queue
from tests.support.console.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESSAGES = 230
ODD = 7
"""Number of the messages with another cause."""


async def picture(page: Page, name: str) -> None:
    """Take a picture of the panel if a developer has asked for pictures."""
    if path := os.environ.get("PICTURES"):
        await page.locator(".at-poison").screenshot(path=f"{path}/{name}.png")


@asynccontextmanager
async def big_queue(site: Site, run: str) -> AsyncIterator[Wiring]:
    """Fill the queue with messages of two causes; empty the queue at the end."""
    async with AsyncExitStack() as opened:
        wiring = Wiring(site.endpoints.app_settings(), opened)
        own, queue = wiring.connections.identity, await wiring.poison()
        await poison_queue.empty(wiring)

        async def put(number: int) -> None:
            error = PoisonEventError("no amount") if number >= ODD else TimeoutError("no answer")
            failure = Failure(FailureKind.POISON, error, 1, 0.0, 0.0)
            key, time = f"{run}-{number:04d}", 1_700_000_000_000 + number
            event = Event(b'{"amount": 1}', key, {}, Source(own, "7"), number, str(number), time)
            await queue.put(
                PoisonMessage.from_failure(
                    event, failure, handler="h", circuit_generation=0, instance="i"
                )
            )

        for numbers in batched(range(MESSAGES), 32, strict=False):
            await asyncio.gather(*map(put, numbers))
        try:
            yield wiring
        finally:
            await poison_queue.empty(wiring)


@pytest.mark.long
async def test_long_queue_is_shown_page_by_page_and_searched_as_a_whole(site: Site) -> None:
    """The causes are counted over the whole queue, and a click on one filters the list."""
    run = f"big-{secrets.token_hex(3)}"
    async with big_queue(site, run) as wiring:
        page = (await site.sign_in("Ada")).page
        rows, pager = page.locator("#poison tr"), page.locator("#poison-pager")
        await expect(rows).to_have_count(200)
        await expect(pager).to_contain_text(f"1 to 200 of {MESSAGES}")
        await picture(page, "pages")
        await pager.get_by_role("button", name="Next page").click()
        await expect(rows).to_have_count(MESSAGES - 200)
        await expect(rows.last).to_contain_text(f"{run}-{MESSAGES - 1:04d}")
        await expect(pager).to_contain_text(f"201 to {MESSAGES} of {MESSAGES}")
        await page.fill("#poison-query", f"{run}-0001")
        await expect(rows).to_have_count(1)
        await page.fill("#poison-query", "")
        causes = page.locator("#poison-causes button")
        await expect(causes).to_have_text(
            [f"PoisonEventError {MESSAGES - ODD}", f"TimeoutError {ODD}"]
        )
        await causes.nth(1).click()
        await expect(rows).to_have_count(ODD)
        await expect(causes.nth(1)).to_have_attribute("aria-pressed", "true")
        await picture(page, "cause")
        index, empty = wiring.poison_index(), page.locator("#poison-empty")
        entries = (await index.page()).entries
        await index.remove([each.name for each in entries if "Timeout" in each.cause.error])
        await page.fill("#poison-query", "other")
        await expect(empty).to_have_text("No poison event of this cause contains “other”.")
        await page.fill("#poison-query", "")
        await expect(empty).to_have_text("No poison event has this cause any more.")
        await picture(page, "cause-gone")
        await causes.nth(1).click()
        await expect(rows).to_have_count(200)


@pytest.mark.long
async def test_parked_keys_are_shown_page_by_page(site: Site) -> None:
    """A click shows the keys that have waited for a shorter time."""
    run = f"many-{secrets.token_hex(3)}"
    async with deferred_keys(site, run) as keys:
        for number in range(205):
            await keys.park(f"{run}-{number:03d}")
        page = (await site.sign_in("Ada")).page
        await page.click("#tab-parked")
        rows, pager = page.locator("#parked tr"), page.locator("#parked-pager")
        await expect(rows).to_have_count(200)
        await expect(rows.first).to_contain_text(f"{run}-000")
        await expect(pager).to_contain_text("1 to 200 of 205")
        await pager.get_by_role("button", name="Next page").click()
        await expect(rows).to_have_count(5)
        await expect(rows.last).to_contain_text(f"{run}-204")
        await picture(page, "parked-pages")
        await pager.get_by_role("button", name="First page").click()
        await expect(rows).to_have_count(200)


@pytest.mark.long
async def test_redrive_on_the_command_line_is_shown_and_refuses_a_second_one(site: Site) -> None:
    """Both the page and the refusal name the operator and the progress."""
    run = f"shown-{secrets.token_hex(3)}"
    ada = await site.sign_in("Ada")
    await site.send(run, (run, b"x", {"simulate": "poison"}))
    await ada.poison_rows(run)
    async with AsyncExitStack() as opened:
        runs = Wiring(site.endpoints.app_settings(), opened).redrive_runs()
        async with runs.entered(RunningRedrive("anna@host1", done=3_412, total=20_000)):
            line = "anna@host1 redrives everything: 3,412 of 20,000, since "
            await expect(ada.page.locator("#job")).to_contain_text(line)
            await picture(ada.page, "redrive-elsewhere")
            await ada.page.click("#redrive-all:enabled")
            await ada.page.click("#confirm-go")
            await expect(ada.page.locator("#confirm-refused")).to_contain_text(
                f"another redrive of all events is running: {line}"
            )
            await ada.page.click("#confirm-cancel")
            ada.complaints.ignore("409")
        await expect(ada.page.locator("#job")).not_to_contain_text("anna@host1")
