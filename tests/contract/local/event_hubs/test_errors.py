"""Errors in the service's terms, and the client's recovery from temporary errors."""

from __future__ import annotations

from typing import Any

import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient
from azure.eventhub.exceptions import AuthenticationError, EventDataSendError, EventHubError

from local.event_hubs import AmqpError, EventHubsServer, HubConfig
from tests.support.event_hubs.client_helpers import (
    HUB,
    Reader,
    append,
    bodies,
    hub,
    producer,
    receive,
    until,
)
from tests.support.event_hubs.prompt_clients import PROMPT


async def test_publishing_to_a_missing_entity_fails(server: EventHubsServer) -> None:
    async with producer(server, eventhub_name="nosuch") as client:
        with pytest.raises(EventHubError, match=r"not-found|NotFound"):
            await client.send_event(EventData(b"x"))


@pytest.mark.parametrize(
    ("where", "condition"),
    [
        ({"partition": "4"}, "com.microsoft:argument-out-of-range"),
        ({"partition": "x"}, "com.microsoft:argument-out-of-range"),
        ({"group": "nosuch"}, "amqp:not-found"),
    ],
)
async def test_receiving_from_a_missing_entity_fails(
    server: EventHubsServer, where: dict[str, Any], condition: str
) -> None:
    async with Reader(server, **where) as reader:
        assert condition in str(await reader.failure())


async def test_properties_of_a_missing_entity_are_not_found(server: EventHubsServer) -> None:
    async with producer(server, eventhub_name="nosuch") as client:
        with pytest.raises(EventHubError, match="404"):
            await client.get_eventhub_properties()


@pytest.mark.parametrize("position", ["5000", 12])
async def test_a_position_beyond_the_end_is_an_argument_error(
    server: EventHubsServer, position: str | int
) -> None:
    """An old checkpoint is such a position after the hub was recreated."""
    append(server, [b"a"])
    async with Reader(server, position=position) as reader:
        error = str(await reader.failure())
    assert "argument-error" in error
    assert "The last" in error


async def test_a_detached_link_recovers(server: EventHubsServer) -> None:
    """After a forced detach the client retries, and no event is lost or doubled."""
    async with producer(server, retry_total=3) as client:
        for number in range(10):
            if number in (3, 7):
                assert server.faults.detach_links(HUB) >= 1
            await client.send_event(EventData(b"%d" % number), partition_id="0")
    assert bodies(await receive(server, 10)) == [b"%d" % number for number in range(10)]


@pytest.mark.parametrize("politely", [False, True])
async def test_a_dropped_connection_recovers(server: EventHubsServer, politely: bool) -> None:
    async with producer(server, retry_total=3, retry_backoff_factor=0.05) as client:
        await client.send_event(EventData(b"0"), partition_id="0")
        assert server.faults.drop_connections(HUB, politely=politely) == 1
        await client.send_event(EventData(b"1"), partition_id="0")
    assert bodies(await receive(server, 2)) == [b"0", b"1"]


async def test_faults_affect_only_their_targets(server: EventHubsServer) -> None:
    async with Reader(server, "0") as zero, Reader(server, "1") as one:
        await until(lambda: zero.attached and one.attached)
        assert server.faults.detach_links(HUB, partition=0) == 1
        assert "amqp:link:detach-forced" in str(await zero.failure())
        append(server, [b"a"], 1)
        assert bodies(await one.receive(1)) == [b"a"]
        assert server.faults.drop_connections("another") == 0
        with pytest.raises(AmqpError, match="not-found"):
            server.faults.detach_links("another")


async def test_events_can_be_delivered_again(server: EventHubsServer) -> None:
    """An open link gets its last events again and then continues, as "at least once" allows."""
    append(server, [b"%d" % number for number in range(4)])
    async with Reader(server) as reader, Reader(server, "1") as other:
        assert bodies(await reader.receive(4)) == [b"0", b"1", b"2", b"3"]
        await until(lambda: other.attached)
        assert server.faults.redeliver(HUB, 2) == 2
        append(server, [b"4"])
        assert bodies(await reader.receive(3)) == [b"2", b"3", b"4"]
        assert server.faults.redeliver(HUB, 100) == 5, "not the number of delivered events"
        assert bodies(await reader.receive(5)) == [b"0", b"1", b"2", b"3", b"4"]
        assert server.faults.redeliver(HUB, 100, partition=1) == 0
        assert other.waiting == 0
        assert server.faults.steal(HUB, 0, seconds=60) == 1
        assert server.faults.redeliver(HUB, 100) == 0, "events for a receiver without a peer"


async def test_a_throttled_hub_is_busy(server: EventHubsServer) -> None:
    """Publications get the error on which SDKs back off, until the fault ends."""
    async with producer(server) as client:
        await client.send_event(EventData(b"0"), partition_id="0")
        server.faults.throttle(HUB, 60)
        with pytest.raises(EventDataSendError, match="server-busy"):
            await client.send_event(EventData(b"1"), partition_id="0")
        server.faults.throttle(HUB, 0)
        await client.send_event(EventData(b"2"), partition_id="0")
    assert bodies(await receive(server, 2)) == [b"0", b"2"]


async def test_a_deleted_hub_detaches_all_links(server: EventHubsServer) -> None:
    """Open and new links of a deleted hub get a not-found error."""
    async with producer(server) as client, Reader(server) as reader:
        await client.send_event(EventData(b"0"), partition_id="0")
        await reader.receive(1)
        server.namespace.delete(HUB)
        assert "amqp:not-found" in str(await reader.failure())
        with pytest.raises(EventHubError):
            await client.send_event(EventData(b"1"), partition_id="0")
        with pytest.raises(EventHubError, match=r"not-found|NotFound"):
            await client.send_event(EventData(b"1"), partition_id="0")


async def test_a_recreated_hub_starts_again(server: EventHubsServer) -> None:
    """Sequence numbers and offsets restart at 0, but enqueued times still increase."""
    append(server, [b"a", b"b"])
    before = await receive(server, 2)
    server.namespace.create(HubConfig(HUB, 2))
    append(server, [b"c"])
    (after,) = await receive(server, 1)
    assert (after.sequence_number, after.offset) == (0, "0")
    assert after.enqueued_time is not None
    assert before[0].enqueued_time is not None
    assert after.enqueued_time > before[0].enqueued_time


async def test_only_tokens_signed_with_the_key_are_accepted() -> None:
    """A client with the right key can send; a wrong key and an unknown key name are refused."""
    async with EventHubsServer(hub(2), keys={"sender": "c2VjcmV0"}) as server:
        append(server, [b"a"])
        assert bodies(await receive(server, 1)) == [b"a"]
        right = server.connection_string
        for wrong in (right.replace("c2VjcmV0", "d3Jvbmc="), right.replace("sender", "other")):
            client = EventHubProducerClient.from_connection_string(
                wrong, eventhub_name=HUB, **PROMPT
            )
            async with client:
                with pytest.raises(AuthenticationError, match="CBS Token"):
                    await client.send_event(EventData(b"x"))
        assert len(server.namespace.hub(HUB).partitions[0]) == 1
