"""Receiving with the stock clients: start position, completeness, order and credit."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.eventhub import EventData, EventHubConsumerClient
from azure.eventhub import PartitionContext as SyncPartitionContext
from azure.eventhub._utils import get_last_enqueued_event_properties
from azure.eventhub.aio import PartitionContext
from azure.eventhub.exceptions import EventHubError

from local.event_hubs import EventHubsServer, Retention
from local.event_hubs.connection.subscription import TURN_EVENTS, Subscription
from tests.support.event_hubs.client_helpers import (
    HUB,
    PATIENCE,
    BackgroundServer,
    Clock,
    Reader,
    append,
    bodies,
    consumer,
    hub,
    producer,
    receive,
    send,
    until,
)


async def test_events_carry_their_place_and_time() -> None:
    """Sequence numbers, offsets and times increase; offsets are numbers in text form."""
    clock = Clock()
    async with EventHubsServer(hub(), now=clock) as server:
        for seconds in range(3):
            append(server, [b"x" * seconds], 2)
            clock.now += 1
        events = await receive(server, 3, "2")
    assert [event.sequence_number for event in events] == [0, 1, 2]
    offsets = [int(event.offset or "") for event in events]
    assert offsets[0] == 0
    assert offsets == sorted(set(offsets))
    start = datetime.fromtimestamp(1_800_000_000, UTC)
    assert [event.enqueued_time for event in events] == [
        start + timedelta(seconds=seconds) for seconds in range(3)
    ]


async def test_every_start_position() -> None:
    """A receiver can start at an offset, sequence number or time, inclusive or exclusive."""
    clock = Clock()
    async with EventHubsServer(hub(), now=clock) as server:
        for number in range(5):
            append(server, [b"%d" % number])
            clock.now += 1
        third = (await receive(server, 5))[2]
        assert third.enqueued_time is not None

        async def first_from(position: Any, inclusive: bool) -> bytes:
            where = {"position": position, "event_position_inclusive": inclusive}
            return bodies(await receive(server, 1, **where))[0]

        cases: list[tuple[Any, bool, bytes]] = [
            (third.offset, False, b"3"),
            (third.offset, True, b"2"),
            (2, False, b"3"),
            (2, True, b"2"),
            (third.enqueued_time, False, b"3"),
            (third.enqueued_time, True, b"2"),
            (third.enqueued_time - timedelta(milliseconds=500), False, b"2"),
        ]
        for position, inclusive, expected in cases:
            assert await first_from(position, inclusive) == expected, (position, inclusive)


async def test_latest_means_from_now_on(server: EventHubsServer) -> None:
    append(server, [b"old"])
    async with Reader(server, position="@latest") as reader:
        await until(lambda: reader.attached)
        append(server, [b"new"])
        assert bodies(await reader.receive(1)) == [b"new"]


async def test_a_waiting_receiver_is_woken_by_each_append(server: EventHubsServer) -> None:
    """An appended event is sent without polling, in the same turn of the event loop."""
    async with Reader(server) as reader:
        await until(lambda: reader.attached)
        for number in range(20):
            append(server, [b"%d" % number])
            assert bodies(await reader.receive(1)) == [b"%d" % number]


async def test_small_credit_bounds_unread_deliveries(server: EventHubsServer) -> None:
    """With a prefetch of 3 all 50 events arrive in order, and never more than the credit."""
    append(server, [b"%d" % number for number in range(50)])
    events = await receive(server, 50, prefetch=3)
    assert bodies(events) == [b"%d" % number for number in range(50)]


async def test_a_receiver_that_stops_reading_costs_no_memory(server: EventHubsServer) -> None:
    """A peer that gives much credit but does not read fills only a bounded buffer."""
    async with Reader(server, prefetch=2000) as reader:
        await until(lambda: reader.attached)
        task = reader._task
        assert task is not None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        batch = [b"x" * 100_000] * 10
        for _ in range(30):
            append(server, batch, 0)
        (link,) = server.namespace.hub(HUB).receivers(0, "$Default")
        assert isinstance(link, Subscription)
        connection: Any = link.owner
        assert connection._socket.get_write_buffer_size() < 1024 * 1024
        assert link._sent < 200


async def test_large_events_come_back_whole(server: EventHubsServer) -> None:
    """Interleaved deliveries of many frames, with sizes around the frame size, stay complete."""
    content = [bytes([n]) * size for n, size in enumerate((65_300, 65_536, 1_000_000, 1, 131_072))]
    append(server, content)
    assert bodies(await receive(server, len(content))) == content


async def test_last_enqueued_properties_are_tracked_on_request(server: EventHubsServer) -> None:
    """Each delivery includes the partition's last enqueued event, with or without a header."""
    append(server, [b"a", b"b", b"c"])
    await send(server, [b"k"], partition_key="key with a header")
    async with Reader(server, track_last_enqueued_event_properties=True) as reader:
        first = (await reader.receive(1))[0]
        tracked = reader._consumer._last_received_event
        found = get_last_enqueued_event_properties(tracked)
    log = server.namespace.hub(HUB).partitions[0]
    assert first.body is not None
    assert found is not None
    assert found["sequence_number"] == log.last_sequence
    assert found["offset"] == str(log.last_offset)
    assert found["enqueued_time"].timestamp() * 1000 == log.last_enqueued_ms
    assert found["retrieval_time"] is not None


async def test_consumer_groups_read_independently() -> None:
    async with EventHubsServer(hub(groups=["second"])) as server:
        append(server, [b"a", b"b"])
        assert bodies(await receive(server, 2, group="$Default")) == [b"a", b"b"]
        assert bodies(await receive(server, 2, group="second")) == [b"a", b"b"]
        assert bodies(await receive(server, 2, group="SECOND")) == [b"a", b"b"]


async def test_consumer_client_receives_all_partitions_in_order(server: EventHubsServer) -> None:
    """`receive` without a partition id receives each partition in order over one connection."""
    async with producer(server) as client:
        for round_number in range(10):
            for key in ("a", "b", "c", "d", "e"):
                await client.send_event(EventData(f"{round_number}"), partition_key=key)
    seen: dict[bytes | None, list[str]] = {}
    done = asyncio.Event()

    async def on_event(context: PartitionContext, event: EventData | None) -> None:
        del context
        if event is not None:
            seen.setdefault(event.partition_key, []).append(event.body_as_str())
            if sum(map(len, seen.values())) == 50:
                done.set()

    client_side = consumer(server)
    async with client_side:
        task = asyncio.create_task(client_side.receive(on_event, starting_position="-1"))
        await asyncio.wait_for(done.wait(), PATIENCE)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert seen == {key: [str(n) for n in range(10)] for key in (b"a", b"b", b"c", b"d", b"e")}


async def test_receivers_that_catch_up_take_turns(server: EventHubsServer) -> None:
    """One turn of the event loop sends a bounded number of events to a receiver."""
    for partition in range(4):
        append(server, [b"%d" % n for n in range(3000)], partition)
    reading = [
        asyncio.create_task(receive(server, 3000, str(partition), prefetch=3000))
        for partition in range(4)
    ]
    largest_step, before = 0, dict.fromkeys(range(4), 0)
    while not all(task.done() for task in reading):
        for partition in range(4):
            for link in server.namespace.hub(HUB).receivers(partition, "$Default"):
                assert isinstance(link, Subscription)
                largest_step = max(largest_step, link._sent - before[partition])
                before[partition] = link._sent
        await asyncio.sleep(0)
    assert 0 < largest_step <= TURN_EVENTS
    for task in reading:
        assert bodies(task.result()) == [b"%d" % n for n in range(3000)]


async def test_retention_removes_the_oldest_events() -> None:
    """The oldest events over the limit are removed; a receiver starts at the oldest kept event."""
    async with EventHubsServer(hub(), retention=Retention(max_events=10)) as server:
        for number in range(5):
            append(server, [b"%d" % (number * 5 + n) for n in range(5)])
        async with producer(server) as client:
            properties = await client.get_partition_properties("0")
        assert properties["beginning_sequence_number"] == 15
        assert properties["last_enqueued_sequence_number"] == 24
        assert bodies(await receive(server, 10)) == [b"%d" % n for n in range(15, 25)]


async def test_old_events_are_removed() -> None:
    clock = Clock()
    async with EventHubsServer(hub(), retention=Retention(max_age_seconds=60), now=clock) as server:
        append(server, [b"old"])
        clock.now += 61
        async with producer(server) as client:
            properties = await client.get_partition_properties("0")
    assert properties["is_empty"]
    assert properties["beginning_sequence_number"] == 1
    assert properties["last_enqueued_sequence_number"] == 0


async def test_properties(server: EventHubsServer) -> None:
    async with producer(server) as client:
        properties = await client.get_eventhub_properties()
        assert properties["partition_ids"] == ["0", "1", "2", "3"]
        assert properties["eventhub_name"] == HUB
        assert abs((datetime.now(UTC) - properties["created_at"]).total_seconds()) < 60
        empty = await client.get_partition_properties("3")
    assert empty["is_empty"]
    assert empty["last_enqueued_sequence_number"] == -1
    assert empty["last_enqueued_offset"] == "-1"
    with pytest.raises(EventHubError, match=r"not-found|NotFound"):
        async with producer(server) as client:
            await client.get_partition_properties("4")


def test_synchronous_consumer_receives_all_partitions() -> None:
    """The synchronous client receives all events of all partitions and closes."""
    with BackgroundServer(EventHubsServer(hub())) as background:
        server = background.server
        background.call(lambda: append(server, [b"%d" % n for n in range(30)], 1))
        client = EventHubConsumerClient.from_connection_string(
            server.connection_string, consumer_group="$Default", eventhub_name=HUB
        )
        seen: list[bytes] = []
        done = threading.Event()

        def on_events(context: SyncPartitionContext, events: list[EventData]) -> None:
            del context
            seen.extend(bodies(events))
            if len(seen) == 30:
                done.set()

        thread = threading.Thread(
            target=client.receive_batch,
            args=(on_events,),
            kwargs={"starting_position": "-1", "partition_id": "1", "max_wait_time": 0.1},
        )
        with client:
            thread.start()
            assert done.wait(PATIENCE)
        thread.join(PATIENCE)
        assert seen == [b"%d" % n for n in range(30)]
