"""A hub that is deleted and created again, and events that expire, as a standard client sees them.

The errors and the behaviour are those of Event Hubs on Azure: azure-sdk-for-python issue 30931 and
azure-sdk-for-java issue 28990 show the refused offset of an old checkpoint.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import httpx
import pytest
from azure.eventhub import EventData

from local.event_hubs import EventHubsServer, HubConfig
from local.event_hubs.hub.partitioner import partition_for_key
from tests.support.event_hubs.client_helpers import (
    HUB,
    Clock,
    Reader,
    append,
    bodies,
    hub,
    producer,
    receive,
    until,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[EventHubsServer]:
    async with EventHubsServer(hub(1), control_port=0, now=clock) as server:
        yield server


async def created_at(server: EventHubsServer) -> datetime:
    async with producer(server) as client:
        created: datetime = (await client.get_eventhub_properties())["created_at"]
        return created


async def test_recreated_hub_has_a_new_creation_time(server: EventHubsServer, clock: Clock) -> None:
    before = await created_at(server)
    clock.now += 7
    append(server, [b"a"])
    assert await created_at(server) == before
    server.namespace.create(HubConfig(HUB, 1))
    assert (await created_at(server) - before).total_seconds() == 7
    async with httpx.AsyncClient() as http:
        answer = (await http.get(f"{server.control_url}/hubs/{HUB}")).json()
    assert answer["created_at"] == (await created_at(server)).timestamp() * 1000


async def test_link_of_a_deleted_hub_does_not_serve_the_new_one(server: EventHubsServer) -> None:
    """The client gets amqp:not-found, and receives the new hub's events on a new link only."""
    append(server, [b"old"])
    async with Reader(server) as reader, producer(server) as client:
        await reader.receive(1)
        await client.send_event(EventData(b"old too"), partition_id="0")
        server.namespace.create(HubConfig(HUB, 1))
        append(server, [b"new"])
        error = str(await reader.failure())
        assert "amqp:not-found" in error
        assert f"The messaging entity '{HUB}' could not be found." in error
        assert reader.waiting == 0
    assert bodies(await receive(server, 1)) == [b"new"]


async def test_recreated_hub_delivers_from_an_old_position_once_it_has_grown_past_it(
    server: EventHubsServer,
) -> None:
    """Until then the position is refused. The hub skips its earlier events without a word."""
    append(server, [b"o%d" % number for number in range(5)])
    checkpoint = (await receive(server, 5))[-1]
    assert checkpoint.offset is not None
    server.namespace.create(HubConfig(HUB, 1))
    append(server, [b"n0", b"n1", b"n2"])
    async with Reader(server, position=checkpoint.offset) as reader:
        assert "The last offset in the system is" in str(await reader.failure())
    append(server, [b"n3", b"n4", b"n5", b"n6"])
    async with Reader(server, position=checkpoint.offset) as reader:
        assert bodies(await reader.receive(1)) == [b"n5"]


async def test_events_that_expire_are_skipped_on_an_open_link(
    server: EventHubsServer, clock: Clock
) -> None:
    """The receiver gets no error; the hub's beginning says what has gone."""
    async with Reader(server) as reader:
        await until(lambda: reader.attached)
        append(server, [b"0"])
        await reader.receive(1)
        server.faults.slow_down(HUB, 60)
        append(server, [b"1", b"2"])
        clock.now += 20
        append(server, [b"3"])
        async with httpx.AsyncClient() as http:
            options = {"retentionSeconds": 10}
            answer = await http.patch(f"{server.control_url}/hubs/{HUB}", json=options)
        assert answer.json()["partitions"][0]["begin_sequence_number"] == 3
        server.faults.slow_down(HUB, 0)
        [event] = await reader.receive(1)
    assert (event.sequence_number, bodies([event])) == (3, [b"3"])
    async with producer(server) as client:
        properties = await client.get_partition_properties("0")
    assert properties["beginning_sequence_number"] == 3


@pytest.mark.parametrize("seconds", [0, -1, "x", None])
async def test_retention_below_zero_is_refused(server: EventHubsServer, seconds: object) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.patch(
            f"{server.control_url}/hubs/{HUB}", json={"retentionSeconds": seconds}
        )
    assert answer.status_code == 400
    assert "retentionSeconds must be" in answer.json()["error"]


async def test_grown_hub_keeps_its_events_and_its_creation_time(server: EventHubsServer) -> None:
    """Open links continue, and a stock client sees the new partitions."""
    before = await created_at(server)
    append(server, [b"a"])
    async with Reader(server) as reader, httpx.AsyncClient() as http:
        assert bodies(await reader.receive(1)) == [b"a"]
        url = f"{server.control_url}/hubs/{HUB}"
        answer = await http.patch(url, json={"partitionCount": 4})
        assert len(answer.json()["partitions"]) == 4
        append(server, [b"b"])
        assert bodies(await reader.receive(1)) == [b"b"]
        async with producer(server) as client:
            assert await client.get_partition_ids() == ["0", "1", "2", "3"]
            await client.send_batch([EventData("c")], partition_id="3")
            for partition in range(4):
                key = next(k for k in map(str, range(99)) if lands(k, 4) == partition)
                await client.send_batch([EventData(f"of {partition}")], partition_key=key)
        assert bodies(await receive(server, 2, "3")) == [b"c", b"of 3"]
        assert await created_at(server) == before
        for count in (3, 0, 10_000):
            refused = await http.patch(url, json={"partitionCount": count})
            assert refused.status_code == 400
            assert "must be" in refused.json()["error"]


def lands(key: str, partitions: int) -> int:
    """Return the partition of a key."""
    return partition_for_key(key.encode(), partitions)
