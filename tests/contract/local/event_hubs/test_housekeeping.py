"""Timeouts of the endpoint, and hubs that are created on first use."""

from __future__ import annotations

import asyncio
import re
import time

import pytest
from azure.eventhub import EventData
from azure.eventhub.exceptions import EventHubError
from proton import Message
from proton.utils import BlockingConnection

from local.event_hubs import EventHubsServer, NamespaceConfig, Retention
from local.event_hubs import server as module_of_server
from local.event_hubs.__main__ import build_server, parse_arguments
from local.event_hubs.hub import namespace
from tests.support.event_hubs.client_helpers import (
    HUB,
    PATIENCE,
    BackgroundServer,
    Clock,
    Reader,
    append,
    bodies,
    hub,
    producer,
    receive,
    until,
)
from tests.support.event_hubs.frames import BEGINNING


@pytest.fixture
def clock() -> Clock:
    """Provide a clock that starts at the real time, in which the SDK's tokens expire."""
    clock = Clock()
    clock.now = time.time()
    return clock


async def test_an_expired_token_detaches_its_links(clock: Clock) -> None:
    """New links with an expired token are refused."""
    async with (
        EventHubsServer(hub(2), keys={"root": "c2VjcmV0"}, now=clock) as server,
        Reader(server) as reader,
        producer(server) as client,
    ):
        await until(lambda: reader.attached)
        await client.send_event(EventData(b"0"), partition_id="0")
        server.housekeeper.sweep()
        await reader.receive(1)
        clock.now += 24 * 3600
        server.housekeeper.sweep()
        error = str(await reader.failure())
        assert "amqp:unauthorized-access" in error
        assert "ExpiredToken" in error
        with pytest.raises(EventHubError):
            await client.send_event(EventData(b"1"), partition_id="0")


def test_a_bad_token_is_refused_as_the_service_does() -> None:
    """The reply has status 401 and the condition `com.microsoft:auth-failed`."""
    with BackgroundServer(EventHubsServer(hub(1), keys={"root": "c2VjcmV0"})) as background:
        connection = BlockingConnection(
            f"127.0.0.1:{background.server.port}", allowed_mechs="ANONYMOUS", timeout=PATIENCE
        )
        try:
            receiver = connection.create_receiver("$cbs", credit=5)
            sender = connection.create_sender("$cbs")
            sender.send(
                Message(body="SharedAccessSignature x", properties={"operation": "put-token"})
            )
            reply = receiver.receive()
        finally:
            connection.close()
    assert reply.properties["status-code"] == 401
    assert reply.properties["error-condition"] == "com.microsoft:auth-failed"
    assert re.fullmatch(
        r"MalformedToken: .* TrackingId:.*, SystemTracker:NoSystemTracker, Timestamp:.*",
        reply.properties["status-description"],
    )


async def test_an_idle_publisher_is_detached(clock: Clock) -> None:
    """A publisher is detached after half an hour with the service's text; receivers are not."""
    async with (
        EventHubsServer(hub(2), now=clock) as server,
        producer(server, retry_total=1) as client,
        Reader(server) as reader,
    ):
        await until(lambda: reader.attached)
        await client.send_event(EventData(b"0"), partition_id="0")
        clock.now += 1799
        server.housekeeper.sweep()
        await client.send_event(EventData(b"1"), partition_id="0")
        clock.now += 1799
        server.housekeeper.sweep()
        assert len(server.namespace.hub(HUB).links) == 2
        clock.now += 1
        server.housekeeper.sweep()
        assert len(server.namespace.hub(HUB).links) == 1
        await client.send_event(EventData(b"2"), partition_id="0")
        assert bodies(await reader.receive(3)) == [b"0", b"1", b"2"]


async def test_a_connection_without_links_is_closed(clock: Clock) -> None:
    async with EventHubsServer(hub(2), now=clock) as server, Reader(server) as reader:
        await until(lambda: reader.attached)
        there, back = await asyncio.open_connection("127.0.0.1", server.port)
        back.write(BEGINNING)
        async with asyncio.timeout(PATIENCE):
            await there.readuntil(b"\x00\x53\x11")
        server.housekeeper.sweep()
        clock.now += 299
        server.housekeeper.sweep()
        assert len(server._service.connections) == 2
        clock.now += 1
        server.housekeeper.sweep()
        async with asyncio.timeout(PATIENCE):
            answer = await there.read()
        back.close()
        assert b"amqp:connection:forced" in answer
        assert b"inactive for more than the allowed 300000 milliseconds" in answer
        append(server, [b"a"])
        assert bodies(await reader.receive(1)) == [b"a"]


async def test_retention_removes_events_without_traffic(clock: Clock) -> None:
    async with EventHubsServer(
        hub(1), retention=Retention(max_age_seconds=60), now=clock
    ) as server:
        append(server, [b"a"])
        clock.now += 61
        server.housekeeper.sweep()
        assert len(server.namespace.hub(HUB).partitions[0]) == 0


async def test_housekeeping_continues_after_a_failure(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is logged, and the other due work is done."""
    monkeypatch.setattr(module_of_server, "HOUSEKEEPING_SECONDS", 0.001)
    done: list[int] = []
    async with EventHubsServer(hub(1)) as server:
        server._service.due += [(0, lambda: done.append(1 // 0)), (1e12, lambda: None)]
        await until(lambda: len(server._service.due) == 1)
        server._service.due.append((0, lambda: done.append(1)))
        await until(lambda: bool(done))
    assert "ZeroDivisionError" in caplog.text


async def test_hubs_and_groups_are_created_when_first_used() -> None:
    """Only if configured; an invalid hub name is still not found."""
    async with EventHubsServer(NamespaceConfig((), create_partitions=3)) as server:
        async with producer(server, eventhub_name="fresh") as client:
            assert await client.get_partition_ids() == ["0", "1", "2"]
        assert HUB not in server.namespace
        async with Reader(server, "2", group="new") as reader:
            await until(lambda: reader.attached)
            append(server, [b"a"], 2)
            assert bodies(await reader.receive(1)) == [b"a"]
        async with Reader(server, "2", group="?") as refused:
            assert "amqp:not-found" in str(await refused.failure())
        async with producer(server, eventhub_name="no_") as client:
            with pytest.raises(EventHubError):
                await client.send_event(EventData(b"x"))
        assert [found.name for found in server.namespace] == ["fresh", HUB]


async def test_the_number_of_created_hubs_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "MAX_HUBS", 1)
    monkeypatch.setattr(namespace, "MAX_GROUPS", 1)
    async with EventHubsServer(NamespaceConfig((), create_partitions=1)) as server:
        assert await receive(server, 0) == []
        async with Reader(server, group="one-more") as refused:
            assert "amqp:resource-limit-exceeded" in str(await refused.failure())
        async with producer(server, eventhub_name="another") as client:
            with pytest.raises(EventHubError, match="Status code: 400"):
                await client.send_event(EventData(b"x"))


def test_the_command_line_enables_creation() -> None:
    server = build_server(parse_arguments(["--create", "5"]), {})
    assert len(server.namespace.open("fresh").partitions) == 5
    both = build_server(parse_arguments(["--create", "5", "--hub", "mine"]), {})
    assert [len(found.partitions) for found in both.namespace] == [4]
    with pytest.raises(ValueError, match="created on first use must be 0 to 1024, got -1"):
        build_server(parse_arguments(["--create", "-1"]), {})
    with pytest.raises(ValueError, match="No such file"):
        build_server(parse_arguments(["--hub", "a", "--tls", "/nonexistent.pem"]), {})
