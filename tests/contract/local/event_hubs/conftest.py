"""What the tests of the Event Hubs endpoint share."""

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
    """An endpoint in the test's own loop: a hub of 4 partitions with a second consumer group."""
    async with EventHubsServer(hub(4, ["other"])) as server:
        yield server


@pytest.fixture
def background() -> Iterator[BackgroundServer]:
    """One in a thread of its own, for clients that block."""
    with BackgroundServer(EventHubsServer(hub(4, ["other"]))) as background:
        yield background
