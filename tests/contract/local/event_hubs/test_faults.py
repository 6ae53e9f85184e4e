"""Injected faults, which affect only their targets and end in time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.eventhub import EventData
from azure.eventhub.exceptions import ConnectionLostError, EventHubError

from local.event_hubs import AmqpError, EventHubsServer, HubConfig
from local.event_hubs.control.fault_routes import FaultRoutes
from local.event_hubs.protocol.delayed_writer import MAX_HELD
from tests.support.event_hubs.client_helpers import (
    HUB,
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


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[EventHubsServer]:
    async with EventHubsServer(hub(2), control_port=0, now=clock) as server:
        yield server


async def ask(server: EventHubsServer, fault: str, **options: Any) -> dict[str, Any]:
    """Inject a fault through the control port."""
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{server.control_url}/faults/{fault}", json=options)
    assert answer.is_success, answer.text
    return dict(answer.json())


async def test_a_link_is_detached_with_the_given_condition(server: EventHubsServer) -> None:
    async with Reader(server) as reader:
        await until(lambda: reader.attached)
        condition = {"condition": "com.microsoft:entity-disabled", "description": "Out of order."}
        assert await ask(server, "detach", hub=HUB, partition=0, **condition) == {"detached": 1}
        error = str(await reader.failure())
    assert "entity-disabled" in error
    assert "Out of order." in error


async def test_refused_links_and_publications(server: EventHubsServer, clock: Clock) -> None:
    """New links and publications get the given condition for the given time; receivers stay."""
    async with producer(server) as client, Reader(server) as reader:
        await client.send_event(EventData(b"0"), partition_id="0")
        await reader.receive(1)
        await ask(server, "refuse", hub=HUB, seconds=60, condition="com.microsoft:timeout")
        with pytest.raises(EventHubError, match="timeout"):
            await client.send_event(EventData(b"1"), partition_id="0")
        async with Reader(server, "1") as other:
            assert "timeout" in str(await other.failure())
        clock.now += 60
        await client.send_event(EventData(b"2"), partition_id="0")
        assert bodies(await reader.receive(1)) == [b"2"]


# The SDK leaks the socket of a connection that is cut while the connection opens.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_refused_connections(server: EventHubsServer, clock: Clock) -> None:
    """New connections are cut at once; open connections continue."""
    async with Reader(server) as reader:
        await until(lambda: reader.attached)
        await ask(server, "refuse", seconds=60)
        async with producer(server) as client:
            with pytest.raises(EventHubError):
                await client.send_event(EventData(b"x"), partition_id="0")
        append(server, [b"a"])
        assert bodies(await reader.receive(1)) == [b"a"]
        clock.now += 60
        async with producer(server) as client:
            await client.send_event(EventData(b"b"), partition_id="0")
        assert bodies(await reader.receive(1)) == [b"b"]


async def test_everything_is_written_late(server: EventHubsServer) -> None:
    """Delayed output arrives complete and in order, within the limit of held bytes."""
    large = [bytes([number]) * 100_000 for number in range(20)]
    async with Reader(server, prefetch=100) as reader:
        await until(lambda: reader.attached)
        (link,) = server.namespace.hub(HUB).receivers(0, "$Default")
        connection: Any = link.owner  # type: ignore[attr-defined]
        await ask(server, "delay", milliseconds=30, seconds=60)
        append(server, large)
        held = 0
        while reader.waiting < len(large):
            held = max(held, connection._writer._size)
            await asyncio.sleep(0)
        assert MAX_HELD / 2 < held < 2 * MAX_HELD
        assert bodies(await reader.receive(len(large))) == large
        await ask(server, "delay", milliseconds=0, seconds=0)
        append(server, [b"a"])
        assert bodies(await reader.receive(1)) == [b"a"]
        assert connection._writer._size == 0


async def test_throttle_accepts_the_given_rate(server: EventHubsServer, clock: Clock) -> None:
    """One second's worth is accepted at once, then more at the given rate."""
    await ask(server, "throttle", hub=HUB, seconds=60, eventsPerSecond=10)
    async with producer(server) as client:
        for _ in range(2):
            await client.send_batch([EventData(b"x")] * 5, partition_id="0")
        with pytest.raises(EventHubError, match="server-busy"):
            await client.send_event(EventData(b"x"), partition_id="0")
        clock.now += 0.5
        await client.send_batch([EventData(b"x")] * 5, partition_id="0")
        with pytest.raises(EventHubError, match="Error code : 50002"):
            await client.send_event(EventData(b"x"), partition_id="0")
        clock.now += 1
        await client.send_batch([EventData(b"x")] * 25, partition_id="0")
        clock.now += 60
        await client.send_batch([EventData(b"x")] * 100, partition_id="0")
    assert len(server.namespace.hub(HUB).partitions[0]) == 140


async def test_receivers_are_slowed_down_without_an_error(
    server: EventHubsServer, clock: Clock
) -> None:
    """Each receiver gets a second's worth of events, then more at the given rate, in order.

    Publishers and the receivers of other hubs are not affected.
    """
    server.namespace.create(HubConfig("other", 1))
    async with Reader(server, owner_level=0) as slow, Reader(server, "1") as also:
        client = consumer(server, eventhub_name="other")
        async with Reader(server, client=client) as free:
            await until(lambda: slow.attached and also.attached and free.attached)
            await ask(server, "slow-down", hub=HUB, seconds=60, eventsPerSecond=10)
            for partition in ("0", "1"):
                numbers = [b"%d" % number for number in range(40)]
                await send(server, numbers, partition_id=partition)
            server.namespace.hub("other").publish(b"\x00\x53\x75\xa0\x01x", 0, 0)
            assert bodies(await free.receive(1)) == [b"x"]
        assert bodies(await slow.receive(10)) == [b"%d" % number for number in range(10)]
        assert len(await also.receive(10)) == 10
        for _ in range(3):
            server.housekeeper.sweep()
        clock.now += 0.5
        server.housekeeper.sweep()
        assert bodies(await slow.receive(5)) == [b"%d" % number for number in range(10, 15)]
        assert len(await also.receive(5)) == 5
        assert (slow.waiting, also.waiting) == (0, 0)
        clock.now += 60
        server.housekeeper.sweep()
        assert bodies(await slow.receive(25)) == [b"%d" % number for number in range(15, 40)]
        assert slow.attached


async def test_rate_0_stops_deliveries_for_a_time(server: EventHubsServer, clock: Clock) -> None:
    async with Reader(server) as reader:
        await until(lambda: reader.attached)
        server.faults.slow_down(HUB, 60)
        append(server, [b"a"])
        clock.now += 59
        server.housekeeper.sweep()
        async with Reader(server, "1") as other:
            append(server, [b"b"], 1)
            await until(lambda: other.attached)
            assert (reader.waiting, other.waiting) == (0, 0)
        server.faults.slow_down(HUB, 0)
        assert bodies(await reader.receive(1)) == [b"a"]


async def test_a_lost_acknowledgement_doubles_the_events(server: EventHubsServer) -> None:
    """The producer retries a stored but unacknowledged batch, so that the events are doubled."""
    async with producer(server, retry_total=3, retry_backoff_factor=0.01) as client:
        await client.send_event(EventData(b"0"), partition_id="0")
        await ask(server, "lose-acknowledgements", hub=HUB, publications=1)
        await client.send_batch([EventData(b"1"), EventData(b"2")], partition_id="0")
        await client.send_event(EventData(b"3"), partition_id="0")
    assert bodies(await receive(server, 6)) == [b"0", b"1", b"2", b"1", b"2", b"3"]


async def test_a_stolen_partition_displaces_its_owner(
    server: EventHubsServer, clock: Clock
) -> None:
    """The owner gets the error of a takeover, and is refused until the partition is released."""
    async with Reader(server, owner_level=4) as owner, Reader(server, "1", owner_level=4) as other:
        await until(lambda: owner.attached and other.attached)
        assert await ask(server, "steal", hub=HUB, partition=0, seconds=60) == {"displaced": 1}
        error = await owner.failure()
        assert isinstance(error, ConnectionLostError)
        assert "amqp:link:stolen" in str(error)
        async with Reader(server, owner_level=4) as again:
            assert "higher epoch '5' already exists" in str(await again.failure())
        clock.now += 60
        server.housekeeper.sweep()
        append(server, [b"a"])
        assert bodies(await receive(server, 1, owner_level=4)) == [b"a"]
        assert other.attached
    assert server.faults.steal(HUB, 0) == 0


@pytest.mark.parametrize(
    ("fault", "options", "status", "message"),
    [
        ("steal", {"hub": HUB}, 400, "partition is missing"),
        ("steal", {"hub": HUB, "partition": 7}, 404, "could not be found"),
        ("steal", {"hub": HUB, "partition": 0, "consumerGroup": "x"}, 404, "could not be found"),
        ("delay", {"milliseconds": "x"}, 400, "milliseconds must be a number"),
        ("delay", {"milliseconds": -1}, 400, "a number of 0 or more, got -1"),
        ("refuse", {"hub": HUB, "condition": 5}, 400, "condition must be an AMQP error condition"),
        ("refuse", {"hub": "nosuch"}, 404, "could not be found"),
        ("lose-acknowledgements", {"hub": HUB, "publications": True}, 400, "must be a number"),
        ("shift-clock", {}, 400, "seconds must be a number, got None"),
    ],
)
async def test_an_invalid_fault_request_is_refused(
    server: EventHubsServer, fault: str, options: dict[str, Any], status: int, message: str
) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{server.control_url}/faults/{fault}", json=options)
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_every_fault_is_in_the_documentation(server: EventHubsServer) -> None:
    table = (Path(__file__).parents[4] / "docs" / "local.md").read_text()
    routes = FaultRoutes(server.faults).routes
    assert {route.path for route in routes} == {
        f"/faults/{name}" for name in re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
    }


async def test_faults_of_a_missing_hub_are_not_found(server: EventHubsServer) -> None:
    for fault in (
        lambda: server.faults.throttle("nosuch", 1),
        lambda: server.faults.lose_acknowledgements("nosuch"),
        lambda: server.faults.steal("nosuch", 0),
    ):
        with pytest.raises(AmqpError, match="not-found"):
            fault()


async def test_clock_that_is_set_back_stamps_events_earlier(
    server: EventHubsServer, clock: Clock
) -> None:
    """Sequence numbers and offsets still increase, and the offset of the clock stays."""
    async with producer(server) as client:
        await client.send_event(EventData(b"0"), partition_id="0")
        clock.now += 1
        assert await ask(server, "shift-clock", seconds=-5) == {"offset": -5}
        for number in (1, 2):
            await client.send_event(EventData(b"%d" % number), partition_id="0")
        properties = await client.get_partition_properties("0")
    events = await receive(server, 3)
    assert bodies(events) == [b"0", b"1", b"2"]
    times = [each.enqueued_time for each in events if each.enqueued_time is not None]
    assert [(each - times[0]).total_seconds() for each in times] == [0, -4, -4]
    assert properties["last_enqueued_time_utc"] == times[-1]
    assert [each.sequence_number for each in events] == [0, 1, 2]
    assert await ask(server, "shift-clock", seconds=2.5) == {"offset": -2.5}
