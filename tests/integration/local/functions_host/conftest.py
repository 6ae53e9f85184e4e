"""Fixtures of the Functions host's integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from local.event_hubs import EventHubsServer
from tests.support.event_hubs.client_helpers import hub
from tests.support.event_hubs.sdk_leaks import sdk_leaks_collected
from tests.support.local.recording_host import RecordingHost


@pytest.fixture
async def recording_host(azurite: str) -> AsyncIterator[RecordingHost]:
    """Provide the trigger of a host in this process, with a hub of 4 partitions."""
    with sdk_leaks_collected():
        async with EventHubsServer(hub(4)) as server:
            yield RecordingHost(server, azurite)
