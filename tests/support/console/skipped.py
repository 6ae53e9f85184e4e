"""The summary line about skipped browser tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

NO_CHROMIUM = "no Chromium; install it with: apt-get install chromium-headless-shell"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say it in one line at the end, and not among the other skipped tests."""
    skipped: list[pytest.TestReport] = terminalreporter.stats.get("skipped", [])
    browser = [report for report in skipped if NO_CHROMIUM in str(report.longrepr)]
    terminalreporter.stats["skipped"] = [report for report in skipped if report not in browser]
    try:
        yield
    finally:
        terminalreporter.stats["skipped"] = skipped
    if browser:
        terminalreporter.write_line(f"{len(browser)} browser tests skipped: {NO_CHROMIUM}")
