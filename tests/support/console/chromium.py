"""Chromium driven by Playwright, and the checks that run on each page."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page, async_playwright, expect

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser")
"""In order of preference: the headless shell needs half of the CPU time."""
EXECUTABLE = next(filter(None, map(shutil.which, BROWSERS)), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

expect.set_options(timeout=30_000)

WATCH = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.hadRecentInput) continue;
    const what = entry.sources.map(({ node }) => node?.id || node?.className || node?.nodeName);
    window.shifts.push([entry.value, what.join(" ")]);
  }
}).observe({ type: "layout-shift", buffered: true });

window.states = [];
addEventListener("DOMContentLoaded", () => {
  const note = () => {
    const state = document.body.dataset.state;
    if (state !== window.states.at(-1)?.[0]) {
      window.states.push([state, Date.now(), performance.now()]);
    }
  };
  note();
  new MutationObserver(note).observe(document.body, { attributes: true });
});
"""
"""Script that records layout shifts without input, and when the page showed each state."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start a browser and close the browser afterwards."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=EXECUTABLE, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


class Complaints:
    """Unexpected errors, warnings, dialogs and requests of a page."""

    def __init__(self, page: Page) -> None:
        self.found: list[str] = []
        page.on("pageerror", lambda error: self.found.append(f"error: {error}"))
        page.on(
            "console",
            lambda message: (
                self.found.append(f"{message.type}: {message.text}")
                if message.type in {"error", "warning"}
                else None
            ),
        )
        page.on("dialog", lambda dialog: self.found.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("http://127.0.0.1:", "data:"))
                else self.found.append(f"request: {request.url}")
            ),
        )

    def ignore(self, *parts: str) -> None:
        """Drop the complaints with one of these texts, because the test caused them."""
        self.found = [each for each in self.found if not any(part in each for part in parts)]
