"""An incident from the alert to the resumption, as operators see it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from contextlib import AsyncExitStack

import pytest
from playwright.async_api import ViewportSize, expect

from loadtest.target.clients import poison_queue
from tests.support.console.site import Operator, Site
from tests.support.forked import Forked
from tests.support.loadtest.runs import command
from tests.support.patience import HANG_SECONDS
from tests.support.processes import wait_for

pytestmark = pytest.mark.asyncio(loop_scope="session")

STILL = 0.001
"""Layout shift that is invisible, such as another digit in small type; the web calls 0.1 good."""


FULL_PAGE: ViewportSize = {"width": 1280, "height": 2_200}
"""The browser reports only layout shifts inside the window."""


@pytest.mark.long
async def test_outage_is_shown_approved_and_resumed(site: Site) -> None:
    """A run of the load test opens the circuit and waits for an approval on the page.

    During the run the layout of the page does not move.
    """
    ada = await site.sign_in("Ada")
    grace = await site.sign_in("Grace", color_scheme="dark", viewport=FULL_PAGE)
    await start_tail(site, grace)
    output = site.directory / "run.log"
    line = (
        "--scenario outage --events 1200 --keys 40 --outage-after 450 --poison-every 150 "
        "--rate 800 --approve person --approve-after 0.2 --json-only "
        f"--target running --endpoints {site.endpoints_file}"
    )
    run = Forked(*command(site.directory, line)[2:], output=output)
    try:
        await grace.page.wait_for_selector("#partitions tr:nth-child(4)")
        await grace.shifts()
        await ada.until_state("open")
        assert await ada.page.text_content("#state") == "Open"
        # On a busy machine the standstill rule may open the circuit before the count rule does.
        reason = await ada.page.text_content("#reason") or ""
        assert re.search("failures within|no event has succeeded", reason), reason
        await expect(ada.page.locator("#waiting")).to_have_text(re.compile(r"\d"))
        await asyncio.to_thread(
            wait_for, lambda: "approve generation" in output.read_text(), "the request to approve"
        )
        await ada.page.click("#approve")
        dialog = await ada.page.text_content("#confirm")
        assert dialog is not None
        assert "Approve generation 1?" in dialog
        assert "generation 2 opens" in dialog
        assert "Open, generation 1" in dialog
        await ada.page.click("#confirm-go")
        await grace.until_state("closed")
        code = await asyncio.to_thread(run.wait, HANG_SECONDS)
    finally:
        run.kill()
    assert code == 0, output.read_text()
    shifts = await grace.shifts()
    assert sum(value for value, _ in shifts) < STILL, shifts
    report = site.report()
    assert (report["lost"], report["duplicates"], report["order_violations"]) == (0, 0, 0)
    assert report["circuit"]["opened"] == 1
    await expect(grace.page.locator("#history > li:first-child")).to_contain_text("approved by Ada")
    await expect(grace.page.locator("#log")).to_contain_text("Ada approved generation 1")
    async with AsyncExitStack() as opened:  # another test may have left messages
        queue = await poison_queue(site.endpoints, opened)
        count = (await queue.get_queue_properties()).approximate_message_count
    assert count is not None
    assert count >= report["poisoned"] > 0
    await expect(grace.page.locator("#poison-count")).to_have_text(str(count))


async def start_tail(site: Site, operator: Operator) -> None:
    """Switch the live tail on, and send events until the tail shows one."""
    await operator.page.check("#tail-on")
    row = operator.page.locator("#tail tr:first-child:not([data-empty])")
    for counter in range(1, 61):
        await site.send("tail", ("key", b"{}", {"counter": counter}))
        with contextlib.suppress(AssertionError):
            return await expect(row).to_be_visible(timeout=1_000)
    raise AssertionError("the tail shows nothing")


async def test_a_redrive_empties_the_poison_queue(site: Site) -> None:
    """Events stay in the queue while the handler is broken, and leave it after the repair."""
    ada = await site.sign_in("Ada")
    grace = await site.sign_in("Grace")
    run = f"redrive-{secrets.token_hex(3)}"
    key = f"broken-{run}"
    await site.send(run, *((key, b'{"amount": 1}', {"broken": True, "counter": n}) for n in (1, 2)))
    rows = await ada.poison_rows(key, 2)
    assert "broken until it is repaired" in (await rows.first.text_content() or "")

    await rows.first.locator("button.link").click()
    await expect(ada.page.locator("#event-properties")).to_contain_text("broken")
    assert await ada.page.text_content("#event-body") == '{"amount": 1}'
    await ada.page.click("#event-key")
    assert f"Redrive all events of key {key}?" in (await ada.page.text_content("#confirm") or "")
    await ada.page.click("#confirm-go")
    await grace.page.wait_for_selector("#job[data-trouble]:not([data-running])")
    assert "2 failed again" in (await grace.page.text_content("#job") or "")

    async with site.redis() as client:
        await client.set(f"repaired:{run}", "1", ex=600)
    await ada.page.fill("#poison-query", "")
    await ada.page.click("#redrive-all:enabled")
    assert "Redrive everything?" in (await ada.page.text_content("#confirm") or "")
    await ada.page.click("#confirm-go")
    await ada.page.wait_for_selector(
        "#confirm", state="hidden"
    )  # an open dialog blocks the page's keys
    await expect(grace.page.locator("#job")).to_contain_text("of everything by Ada has ended")
    await ada.page.fill("#poison-query", key)
    await expect(ada.page.locator("#poison-empty")).to_contain_text("No poison event contains")


async def test_operators_on_different_instances_read_each_other(site: Site) -> None:
    """The log reaches the other instance, also after an instance was restarted."""
    with site.second_console():
        ada = await site.sign_in("Ada")
        grace = await site.sign_in("Grace", site.second_url)
        for operator, text in ((ada, "who is on it?"), (grace, "I am: <b>failover</b> runs")):
            await operator.page.fill("#say-text", text)
            await operator.page.press("#say-text", "Enter")
        for operator in (ada, grace):
            await expect(operator.page.locator("#log")).to_contain_text("<b>failover</b> runs")
            await expect(operator.page.locator("#log")).to_contain_text("Ada who is on it?")
            assert await operator.page.locator("#log span b").count() == 0
    await grace.page.wait_for_selector("body[data-connection=down]")
    assert "Disconnected" in (await grace.page.text_content("#trouble") or "")
    await ada.page.fill("#say-text", "are you there?")
    await ada.page.press("#say-text", "Enter")
    with site.second_console():
        await grace.page.wait_for_selector("body[data-connection=live]")
        await expect(grace.page.locator("#log")).to_contain_text("are you there?")
        lines = await grace.page.locator("#log .line").all_text_contents()
        assert sum("who is on it?" in line for line in lines) == 1
        assert await grace.page.text_content("#trouble") == ""
        grace.complaints.ignore("WebSocket connection", "Failed to load resource")
