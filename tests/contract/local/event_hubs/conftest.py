"""Fixtures of the Event Hubs endpoint's contract tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from local.event_hubs import EventHubsServer
from tests.support.event_hubs.client_helpers import BackgroundServer, hub
from tests.support.event_hubs.sdk_leaks import sdk_leaks_collected


@pytest.fixture(autouse=True)
def sdk_leaks() -> Iterator[None]:
    with sdk_leaks_collected():
        yield


@pytest.fixture
async def server() -> AsyncIterator[EventHubsServer]:
    """Provide an endpoint with a hub of 4 partitions and a second consumer group."""
    async with EventHubsServer(hub(4, ["other"])) as server:
        yield server


@pytest.fixture
def background() -> Iterator[BackgroundServer]:
    """Provide an endpoint in its own thread, for synchronous clients."""
    with BackgroundServer(EventHubsServer(hub(4, ["other"]))) as background:
        yield background
