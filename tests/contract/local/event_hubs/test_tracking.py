"""Tracking ids at the end of error texts, in the service's format."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator

import pytest
from azure.eventhub import EventData
from azure.eventhub.exceptions import EventHubError

from local.event_hubs import EventHubsServer
from tests.support.event_hubs.client_helpers import (
    HUB,
    Clock,
    Reader,
    exchange,
    hub,
    producer,
    until,
)
from tests.support.event_hubs.frames import BEGINNING


@pytest.fixture
async def server() -> AsyncIterator[EventHubsServer]:
    async with EventHubsServer(hub(2), now=Clock()) as server:
        yield server


def tracking_id(text: object, tracker: str) -> str:
    """Return the only tracking id in a text, and check its system tracker and timestamp."""
    (found,) = set(re.findall(r"TrackingId:([0-9a-f-]{36}_G0), SystemTracker:(\S+), ", str(text)))
    assert found[1] == tracker
    assert "Timestamp:2027-01-15T08:00:00" in str(text)
    return str(found[0])


async def test_errors_of_receivers_have_tracking_ids(
    server: EventHubsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The endpoint logs a refusal with the tracking id."""
    caplog.set_level(logging.INFO, "local.event_hubs")
    async with Reader(server, "7") as reader:
        refused = tracking_id(await reader.failure(), "emulatorNs1:eventhub:events~7|$default")
    assert refused in caplog.text
    async with Reader(server) as reader:
        await until(lambda: reader.attached)
        server.faults.detach_links(HUB)
        detached = tracking_id(await reader.failure(), "emulatorNs1:eventhub:events~0|$default")
    assert detached != refused


async def test_error_of_a_rejected_publication_has_a_tracking_id(server: EventHubsServer) -> None:
    async with producer(server) as client:
        await client.send_event(EventData(b"0"), partition_id="1")
        server.faults.throttle(HUB, 60)
        with pytest.raises(EventHubError, match="being throttled") as busy:
            await client.send_event(EventData(b"1"), partition_id="1")
    tracking_id(busy.value, "emulatorNs1:eventhub:events~1")


async def test_error_of_a_closed_connection_has_a_tracking_id(server: EventHubsServer) -> None:
    answer = await exchange(server, BEGINNING + b"\0\0\0\x01\x02\0\0\0")
    tracking_id(answer, "NoSystemTracker")
