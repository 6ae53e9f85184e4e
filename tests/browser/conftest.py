"""Fixtures: one browser and one stack for all tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from loadtest.plan.settings import Scenario, Settings
from loadtest.target.stack import Stack
from local.services.ports import free_port
from tests.support.console.chromium import EXECUTABLE, chromium
from tests.support.console.site import Site
from tests.support.console.skipped import NO_CHROMIUM

THRESHOLD = 20


@pytest.fixture(scope="session")
def console_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start a stack whose handler can be repaired."""
    if EXECUTABLE is None:
        pytest.skip(NO_CHROMIUM)
    settings = Settings(
        scenario=Scenario.STEADY,
        report=tmp_path_factory.mktemp("console") / "report.json",
        app_settings={
            "BREAKER_FAILURE_THRESHOLD": str(THRESHOLD),
            "PROCESSING_RETRY_INITIAL_SECONDS": "0.01",
            "EVENT_HANDLER": "tests.support.handlers.repairable:RepairableLedger",
        },
    )
    stack = Stack(settings)
    with asyncio.Runner() as runner:
        runner.run(stack.__aenter__())
        try:
            yield stack
        finally:
            runner.run(stack.__aexit__(None, None, None))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_site(console_stack: Stack) -> AsyncIterator[Site]:
    """Start a browser for the stack's console."""
    async with chromium() as browser:
        yield Site(
            console_stack.endpoints,
            console_stack.state_dir / "endpoints.json",
            free_port(),
            Path(console_stack.directory),
            browser,
        )


@pytest_asyncio.fixture(loop_scope="session")
async def site(running_site: Site) -> AsyncIterator[Site]:
    """Yield the site with a closed circuit; afterwards check that no page has complaints."""
    await running_site.close()
    try:
        yield running_site
        complaints = [
            complaint
            for operator in running_site.operators
            for complaint in operator.complaints.found
        ]
    finally:
        await running_site.reset()
    assert complaints == []
