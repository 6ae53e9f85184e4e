"""Command that takes the pictures of the console in docs/images.

`python -m tests.browser.pictures` runs a real incident: the load test's outage, watched by two
operators and approved on the page. The command takes about two minutes. In the
committed pictures the font system-ui is Inter.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from playwright.async_api import Page, ViewportSize

from loadtest.plan.settings import Scenario, Settings
from loadtest.target.stack import Stack
from local.services.child import REPOSITORY
from local.services.ports import free_port
from tests.support.console.chromium import chromium
from tests.support.console.site import Operator, Site
from tests.support.forked import Forked
from tests.support.loadtest.runs import command

IMAGES = REPOSITORY / "docs" / "images"
DESK: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
RUN = (
    "--scenario outage --events 46000 --outage-after 20000 --poison-every 1500 --rate 800 "
    "--approve person --approve-after 0 --target running --endpoints"
)
CONVERSATION = (
    ("grace", "Alert at 3 a.m.: the ledger refuses writes. Calling the database's on-call."),
    ("ada", "I see it too. Nothing is lost: events wait in the hub, the checkpoint holds."),
    ("grace", "Failover is done, writes work by hand. You may approve."),
)


async def take_pictures(stack: Stack) -> None:
    """Run the incident and take the pictures."""
    async with chromium() as browser:
        file = stack.state_dir / "endpoints.json"
        site = Site(stack.endpoints, file, free_port(), stack.directory, browser)
        with site.second_console():
            ada = await site.sign_in("Ada", viewport=DESK)
            dark = await site.sign_in("Ada", viewport=DESK, color_scheme="dark")
            phone = await site.sign_in(
                "Ada", viewport=PHONE, device_scale_factor=2, is_mobile=True, has_touch=True
            )
            grace = await site.sign_in("Grace", site.second_url, viewport=DESK)
            pages = {"ada": ada, "grace": grace, "dark": dark, "phone": phone}
            for operator in pages.values():
                await operator.page.locator("label", has_text="2 min").click()
            output = stack.directory / "run.log"
            line = f"{RUN} {file}"
            run = Forked(*command(stack.directory, line)[2:], output=output)
            try:
                await follow_incident(pages)
                code = await asyncio.to_thread(run.wait, 120)
            finally:
                run.kill()
                sys.stderr.write(output.read_text())
        await grace.page.wait_for_selector("body[data-connection=down]")
        await picture(grace.page, "disconnected")
        await poison_picture(ada.page)
        if code:
            raise SystemExit(code)


async def follow_incident(pages: dict[str, Operator]) -> None:
    """Take pictures from the time before the outage to the end of the backlog."""
    ada = pages["ada"].page
    await ada.wait_for_timeout(18_000)
    await picture(ada, "closed")
    await pages["ada"].until_state("open")
    for name, text in CONVERSATION:
        await ada.wait_for_timeout(4_000)
        page = pages[name].page
        await page.fill("#say-text", text)
        await page.press("#say-text", "Enter")
    await ada.wait_for_timeout(2_000)
    await ada.evaluate("document.activeElement.blur()")
    for name, page in (("open", ada), ("dark", pages["dark"].page), ("phone", pages["phone"].page)):
        await picture(page, name)
    await ada.click("#approve")
    await ada.wait_for_timeout(300)
    await picture(ada, "approve")
    await ada.click("#confirm-go")
    await pages["ada"].until_state("closed")
    await ada.wait_for_timeout(20_000)
    await picture(ada, "resumed")


async def poison_picture(page: Page) -> None:
    """Take a picture of the poison queue."""
    section = page.locator(".at-poison")
    await section.screenshot(path=IMAGES / "console-poison.png")


async def picture(page: Page, name: str) -> None:
    """Take a picture of the window."""
    # Playwright has scrolled to the elements that it clicked.
    await page.evaluate("window.scrollTo(0, 0)")
    await page.screenshot(path=IMAGES / f"console-{name}.png")


async def main() -> None:
    """Run the incident on a temporary stack."""
    settings = Settings(
        scenario=Scenario.STEADY,
        report=Path("out/pictures/report.json"),
        app_settings={"BREAKER_FAILURE_THRESHOLD": "60"},
    )
    async with Stack(settings) as stack:
        await take_pictures(stack)


if __name__ == "__main__":
    asyncio.run(main())
