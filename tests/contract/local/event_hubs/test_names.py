"""Names of hubs and consumer groups are compared without regard to case, as in the service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from azure.eventhub import EventData
from azure.eventhub.exceptions import EventHubError

from local.event_hubs import EventHubsServer
from tests.support.event_hubs.client_helpers import (
    Reader,
    append,
    bodies,
    consumer,
    hub,
    producer,
    until,
)

KEY = "c2VjcmV0"


@pytest.fixture
async def server() -> AsyncIterator[EventHubsServer]:
    """Provide an endpoint that checks tokens, with the hub `events` and the group `other`."""
    async with EventHubsServer(hub(4, ["Other"]), keys={"root": KEY}, control_port=0) as server:
        yield server


def reader(server: EventHubsServer, name: str, group: str, **options: Any) -> Reader:
    client = consumer(server, group, eventhub_name=name)
    return Reader(server, group=group, client=client, **options)


@pytest.mark.parametrize("name", ["events", "Events", "EVENTS"])
async def test_producer_and_management_find_the_hub(server: EventHubsServer, name: str) -> None:
    async with producer(server, eventhub_name=name) as client:
        assert await client.get_partition_ids() == ["0", "1", "2", "3"]
        properties = await client.get_eventhub_properties()
        assert properties["eventhub_name"] == "events"
        await client.send_event(EventData(b"a"), partition_id="2")
        assert (await client.get_partition_properties("2"))["last_enqueued_sequence_number"] == 0


@pytest.mark.parametrize(
    ("name", "group"), [("Events", "$default"), ("eVENTS", "$DEFAULT"), ("EVENTS", "oTHER")]
)
async def test_receiver_finds_hub_and_group(server: EventHubsServer, name: str, group: str) -> None:
    append(server, [b"a"])
    async with reader(server, name, group) as one:
        assert bodies(await one.receive(1)) == [b"a"]


async def test_five_receivers_of_a_group_are_counted_across_spellings(
    server: EventHubsServer,
) -> None:
    spellings = [
        ("events", "$Default"),
        ("Events", "$default"),
        ("EVENTS", "$DEFAULT"),
        ("eventS", "$Default"),
        ("events", "$dEFAULT"),
    ]
    async with AsyncExitStack() as stack:
        five = [reader(server, name, group) for name, group in spellings]
        for one in five:
            await stack.enter_async_context(one)
        await until(lambda: all(one.attached for one in five))
        async with reader(server, "Events", "$DEFAULt") as sixth:
            error = await sixth.failure()
            assert isinstance(error, EventHubError)
            assert "amqp:resource-limit-exceeded" in str(error)


async def test_owner_of_another_spelling_takes_over(server: EventHubsServer) -> None:
    async with reader(server, "events", "Other", owner_level=1) as first:
        await until(lambda: first.attached)
        async with reader(server, "EVENTS", "OTHER", owner_level=0) as lower:
            assert "higher epoch '1' already exists" in str(await lower.failure())
        async with reader(server, "Events", "other", owner_level=2) as second:
            assert "amqp:link:stolen" in str(await first.failure())
            append(server, [b"a"])
            assert bodies(await second.receive(1)) == [b"a"]


async def test_control_port_and_faults_find_the_hub(server: EventHubsServer) -> None:
    async with httpx.AsyncClient(base_url=server.control_url) as http:
        assert (await http.get("/hubs/EVENTS")).json()["name"] == "events"
        async with reader(server, "Events", "OTHER") as one:
            await until(lambda: one.attached)
            answer = await http.post(
                "/faults/detach", json={"hub": "eVents", "consumerGroup": "other"}
            )
            assert answer.is_success
            assert "detach-forced" in str(await one.failure())
        assert (await http.put("/hubs/Events", json={"partitionCount": 2})).is_success
        assert [hub["name"] for hub in (await http.get("/hubs")).json()["hubs"]] == ["Events"]
        assert (await http.delete("/hubs/EVENTS")).status_code == 204
        assert (await http.get("/hubs/Events")).status_code == 404
