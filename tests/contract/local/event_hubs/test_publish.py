"""Publishing with the stock clients: content, partition and order."""

from __future__ import annotations

import asyncio

import pytest
from azure.eventhub import EventData
from azure.eventhub import EventHubProducerClient as SyncProducer
from azure.eventhub.amqp import AmqpAnnotatedMessage
from azure.eventhub.exceptions import EventDataSendError, EventHubError

from local.event_hubs import EventHubsServer
from local.event_hubs.hub.partitioner import partition_for_key
from tests.support.event_hubs.client_helpers import (
    HUB,
    BackgroundServer,
    bodies,
    producer,
    receive,
    send,
)


def counts(server: EventHubsServer) -> list[int]:
    return [len(log) for log in server.namespace.hub(HUB).partitions]


async def test_a_batch_keeps_its_order_and_stays_together(server: EventHubsServer) -> None:
    """All events of a batch go to one partition in order, also without a key."""
    await send(server, [b"%d" % n for n in range(100)])
    assert sorted(counts(server)) == [0, 0, 0, 100]
    partition = str(counts(server).index(100))
    assert bodies(await receive(server, 100, partition)) == [b"%d" % n for n in range(100)]


async def test_without_a_key_partitions_take_turns(server: EventHubsServer) -> None:
    async with producer(server) as client:
        for _ in range(8):
            await client.send_event(EventData(b"x"))
    assert counts(server) == [2, 2, 2, 2]


async def test_a_key_goes_to_the_partition_of_its_hash(server: EventHubsServer) -> None:
    """Single events and batches with one key go to one partition and keep the key."""
    keys = ["k1", "Zürich", "鍵", "x" * 128, "ü" * 64]
    async with producer(server) as client:
        for key in keys:
            batch = await client.create_batch(partition_key=key)
            batch.add(EventData(b"a"))
            batch.add(EventData(b"b"))
            await client.send_batch(batch)
            await client.send_event(EventData(b"c"), partition_key=key)
    expected: dict[int, list[tuple[bytes, bytes | None]]] = {}
    for key in keys:
        partition = expected.setdefault(partition_for_key(key.encode(), 4), [])
        partition.extend((body, key.encode()) for body in (b"a", b"b", b"c"))
    assert len(expected) > 1
    for number, there in expected.items():
        events = await receive(server, len(there), str(number))
        keys_there = [event.partition_key for event in events]
        assert list(zip(bodies(events), keys_there, strict=True)) == there


async def test_a_key_of_129_characters_is_refused(server: EventHubsServer) -> None:
    async with producer(server) as client:
        with pytest.raises(EventHubError, match="argument-out-of-range"):
            await client.send_event(EventData(b"x"), partition_key="k" * 129)
    assert counts(server) == [0, 0, 0, 0]


async def test_a_partition_id_selects_the_partition(server: EventHubsServer) -> None:
    await send(server, [b"a"], partition_id="3")
    assert counts(server) == [0, 0, 0, 1]


async def test_any_body_survives(server: EventHubsServer) -> None:
    """Empty, non-UTF-8 and AMQP-like bodies stay unchanged, alone and in a batch."""
    content = [
        b"",
        b"\xff\xfe\x00",
        b"\x00" * 300,
        bytes(range(256)),
        b"\x00\x53\x75\xa0\x01x",
        b"\x00\x53\x77\x40",
    ]
    await send(server, content, partition_id="0")
    async with producer(server) as client:
        for body in content:
            await client.send_event(EventData(body), partition_id="0")
    assert bodies(await receive(server, 12)) == content + content


async def test_properties_of_all_kinds_survive(server: EventHubsServer) -> None:
    """Application properties, message properties and header are delivered unchanged."""
    event = EventData(b"x")
    event.properties = {"text": "ü", "number": 7, "flag": True, "none": None}
    event.properties["bytes"] = b"\xff"
    event.content_type = "application/json"
    event.correlation_id = "c-1"
    event.message_id = "m-1"
    event.raw_amqp_message.annotations = {"x-opt-mine": "kept"}
    async with producer(server) as client:
        await client.send_event(event, partition_id="1")
    (received,) = await receive(server, 1, "1")
    assert received.properties == {
        b"text": "ü".encode(),
        b"number": 7,
        b"flag": True,
        b"none": None,
        b"bytes": b"\xff",
    }
    assert (received.content_type, received.correlation_id) == ("application/json", "c-1")
    assert received.message_id == "m-1"
    assert received.system_properties[b"x-opt-mine"] == b"kept"


async def test_value_and_sequence_bodies_survive(server: EventHubsServer) -> None:
    async with producer(server) as client:
        await client.send_event(AmqpAnnotatedMessage(value_body={"a": [1, 2]}), partition_id="0")
        await client.send_event(AmqpAnnotatedMessage(sequence_body=[[1], ["b"]]), partition_id="0")
    first, second = await receive(server, 2)
    assert first.raw_amqp_message.body == {b"a": [1, 2]}
    assert [list(part) for part in second.raw_amqp_message.body] == [[1], [b"b"]]


async def test_publishers_cannot_forge_system_properties(server: EventHubsServer) -> None:
    event = EventData(b"x")
    event.raw_amqp_message.annotations = {"x-opt-sequence-number": 99, "x-opt-offset": "99"}
    async with producer(server) as client:
        await client.send_event(event, partition_id="0")
    (received,) = await receive(server, 1)
    assert (received.sequence_number, received.offset) == (0, "0")


async def test_messages_up_to_one_megabyte_are_accepted(server: EventHubsServer) -> None:
    """The link announces the maximum size to the client, and refuses larger messages."""
    async with producer(server) as client:
        batch = await client.create_batch(partition_id="0")
        assert batch.max_size_in_bytes == 1024 * 1024
        largest = 1024 * 1024 - 64
        batch.add(EventData(b"m" * largest))
        await client.send_batch(batch)
        with pytest.raises(EventHubError, match="LinkMessageSizeExceeded"):
            await client.send_event(EventData(b"m" * (1024 * 1024 + 1)), partition_id="0")
        await client.send_event(EventData(b"after"), partition_id="0")
    events = await receive(server, 2)
    assert [len(body) for body in bodies(events)] == [largest, 5]


async def test_an_acknowledged_event_has_been_appended(server: EventHubsServer) -> None:
    """The event is in the log when `send` returns."""
    async with producer(server) as client:
        for expected in range(1, 20):
            await client.send_event(EventData(b"x"), partition_id="0")
            assert len(server.namespace.hub(HUB).partitions[0]) == expected


async def test_a_malformed_message_is_rejected_and_the_link_lives(
    server: EventHubsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are not an AMQP message are not appended, because they would stop consumers."""
    async with producer(server) as client:
        await client.send_event(EventData(b"good"), partition_id="0")
        with monkeypatch.context() as patch:
            patch.setattr(
                "azure.eventhub._pyamqp.aio._sender_async.encode_payload",
                lambda output, message: output.extend(b"\x00\x53\x75\xb0\xff\xff\xff\xff"),
            )
            with pytest.raises(EventDataSendError, match="DecodeError"):
                await client.send_event(EventData(b"bad"), partition_id="0")
        await client.send_event(EventData(b"good"), partition_id="0")
    assert bodies(await receive(server, 2)) == [b"good", b"good"]


async def test_buffered_mode(server: EventHubsServer) -> None:
    """The buffered producer uses all partitions, flushes, and calls its callbacks."""
    sent: list[str | None] = []
    failed: list[object] = []

    async def on_success(events: list[EventData], partition: str | None) -> None:
        sent.extend([partition] * len(events))

    async def on_error(events: object, partition: object, error: object) -> None:
        failed.append(error)

    client = producer(
        server, buffered_mode=True, on_success=on_success, on_error=on_error, max_wait_time=0.1
    )
    async with client:
        for n in range(40):
            await client.send_event(EventData(b"%d" % n), partition_key=f"key{n % 7}")
        for n in range(40):
            await client.send_event(EventData(b"%d" % n))
        await client.flush()
    assert failed == []
    assert len(sent) == sum(counts(server)) == 80


def test_synchronous_producer_publishes_events_and_batches(background: BackgroundServer) -> None:
    server = background.server
    client = SyncProducer.from_connection_string(server.connection_string, eventhub_name=HUB)
    with client:
        client.send_event(EventData("one"), partition_id="0")
        client.send_batch([EventData("two"), EventData("three")], partition_id="0")
        batch = client.create_batch(partition_id="0")
        batch.add(EventData("four"))
        client.send_batch(batch)
        assert client.get_partition_properties("0")["last_enqueued_sequence_number"] == 3


async def test_many_producers_at_once_lose_nothing(server: EventHubsServer) -> None:
    """Batches of concurrent connections are stored complete, and no batch is split or lost."""

    async def produce(number: int) -> None:
        async with producer(server) as client:
            for round_number in range(5):
                batch = await client.create_batch(partition_id="0")
                for index in range(20):
                    batch.add(EventData(f"{number} {round_number} {index}"))
                await client.send_batch(batch)

    await asyncio.gather(*(produce(number) for number in range(6)))
    received = [body.decode().split() for body in bodies(await receive(server, 600))]
    runs = [received[start : start + 20] for start in range(0, 600, 20)]
    assert all(len({(number, turn) for number, turn, _ in run}) == 1 for run in runs)
    assert all([int(index) for _, _, index in run] == list(range(20)) for run in runs)
    assert len({(number, turn) for run in runs for number, turn, _ in run}) == 30
