"""An operator rewinds partitions from the page, while real host processes run."""

from __future__ import annotations

import re
import secrets
import time
from contextlib import AsyncExitStack

import pytest
from playwright.async_api import expect

from processing.formats.keys import hub_keys
from processing.wiring import Wiring
from tests.support.console.site import READY, Site

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]


async def test_plan_warns_that_the_hub_has_grown(site: Site) -> None:
    """The warning is about the whole hub, and stands above those about a partition."""
    operator = await site.sign_in("Ada")
    async with AsyncExitStack() as opened, site.redis() as client:
        identity = Wiring(site.endpoints.app_settings(), opened).connections.identity
        _, changes = hub_keys(identity)
        grown = "partitions 1 2 4"
        await client.zadd(changes, {grown: time.time() * 1000})
        try:
            await operator.page.click("#rewind")
            await operator.page.click("#rewind-show")
            first = operator.page.locator("#rewind-warnings li").first
            await expect(first).to_contain_text("The hub has 4 partitions and had 2 until")
            await operator.page.screenshot(path=str(site.directory / "rewind-grown.png"))
        finally:
            await client.zrem(changes, grown)


async def test_operator_rewinds_a_partition_and_the_app_runs_again(site: Site) -> None:
    """The dialog shows the plan first; a reload of the page keeps the state of the rewind."""
    ada, grace = await site.sign_in("Ada"), await site.sign_in("Grace")
    run = f"rewind-{secrets.token_hex(3)}"
    await site.send(run, *((run, b"{}", {}) for _ in range(20)))
    page = ada.page
    await expect(page.locator("#partitions tr")).not_to_have_count(0)
    await page.click("#rewind")
    await expect(page.locator("#rewind-go")).to_be_hidden()
    await page.click("#rewind-show")
    await expect(page.locator("#rewind-rows tr")).to_have_count(4)
    await expect(page.locator("#rewind-what")).to_contain_text("The rewind stops the app")
    await page.screenshot(path=str(site.directory / "rewind-plan.png"))
    await page.select_option("#rewind-partition", "1")
    await expect(page.locator("#rewind-plan")).to_be_hidden()
    await page.check("#rewind-form [value=number]")
    await page.fill("#rewind-number", "4000000")
    await page.click("#rewind-show")
    refused = page.locator("#rewind-refused")
    await expect(refused).to_contain_text("event 4000000 is not among them")
    ada.complaints.ignore("409")
    await page.check("#rewind-form [value=start]")
    await page.click("#rewind-show")
    await expect(page.locator("#rewind-rows tr")).to_have_count(1)
    await page.click("#rewind-go")
    await expect(page.locator("#rewind-dialog[open]")).to_have_count(0)

    running = page.locator("#rewind-job[data-running]")
    await expect(running).to_contain_text(
        "Rewind of partition 1 to the first retained event by Ada"
    )
    await page.screenshot(path=str(site.directory / "rewind-running.png"))
    await page.reload()
    await page.wait_for_selector(READY)
    for operator in (ada, grace):
        line = operator.page.locator("#rewind-job")
        await expect(line).to_contain_text(re.compile("^Rewind of partition 1 "))
        await expect(line).to_contain_text(
            re.compile(r"Rewound: partition 1 to event \d+\. The app is started; the local"),
            timeout=60_000,
        )
        await expect(operator.page.locator("#rewind")).to_be_enabled()
    log = page.locator("#log .line", has_text="rewind of partition 1").last
    await expect(log).to_contain_text("The app is started")
    await page.screenshot(path=str(site.directory / "rewind-done.png"), full_page=True)
