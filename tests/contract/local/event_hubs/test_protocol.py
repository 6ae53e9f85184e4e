"""The wire protocol: another client, garbage, silent peers, and damaged conversations."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from azure.eventhub import EventData
from azure.eventhub._pyamqp._decode import decode_frame
from azure.eventhub.aio import EventHubProducerClient
from proton import Message
from proton.reactor import Selector
from proton.utils import BlockingConnection, LinkDetached

from local.event_hubs import EventHubsServer
from local.event_hubs.connection import connection as module_of_connection
from local.event_hubs.connection.connection import ClientConnection
from local.event_hubs.protocol.sasl import AMQP_HEADER, SASL_HEADER
from tests.support.event_hubs.client_helpers import (
    HUB,
    PATIENCE,
    BackgroundServer,
    Reader,
    append,
    bodies,
    exchange,
    hub,
    producer,
    until,
)
from tests.support.event_hubs.frames import BEGINNING, FLOW, RECEIVE, described, frame, uint

RECEIVE_FROM = f"{HUB}/ConsumerGroups/$Default/Partitions/0"


def open_frame(idle_timeout_ms: int | None = None) -> bytes:
    fields = [b"\xa1\x01c", b"\xa1\x01h", b"\x70\x00\x01\x00\x00", b"\x60\x00\xff"]
    if idle_timeout_ms is not None:
        fields.append(b"\x70" + struct.pack(">I", idle_timeout_ms))
    content = b"".join(fields)
    body = b"\x00\x53\x10\xc0" + bytes((len(content) + 1, len(fields))) + content
    return struct.pack(">I", len(body) + 8) + b"\x02\x00\x00\x00" + body


async def still_works(server: EventHubsServer) -> None:
    async with producer(server) as client:
        await client.send_event(EventData(b"fine"), partition_id="1")


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 64,
        b"\xff" * 64,
        SASL_HEADER + b"\xff" * 64,
        AMQP_HEADER + b"\xff" * 64,
        AMQP_HEADER + b"\x00\x00\x00\x20\x02\x00\x00\x00" + b"\xee" * 24,
        AMQP_HEADER + open_frame() + b"garbage!" * 4,
        AMQP_HEADER + open_frame() + open_frame(),
        AMQP_HEADER + b"AMQP\x00\x01\x00\x00",
        b"AMQP\x00\x09\x09\x09",
    ],
)
async def test_garbage_closes_the_connection_and_nothing_else(
    server: EventHubsServer, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The endpoint closes the connection, logs no error and continues."""
    with caplog.at_level(logging.WARNING):
        await exchange(server, garbage)
        await until(lambda: not server._service.connections)
    assert caplog.records == []


async def test_a_framing_error_is_reported(server: EventHubsServer) -> None:
    """After a valid open the peer gets a close with the error and all fields."""
    answer = await exchange(server, AMQP_HEADER + open_frame() + b"garbage!" * 4)
    assert answer.startswith(AMQP_HEADER)
    close = answer[answer.rindex(b"\x00\x53\x18") :]
    _, fields = decode_frame(memoryview(close))
    assert fields[0][0] == b"amqp:connection:framing-error"
    assert len(fields[0]) == 3


async def test_a_peer_may_close_during_the_handshake(server: EventHubsServer) -> None:
    """A peer may close the connection after any byte."""
    talk = AMQP_HEADER + open_frame()
    for length in range(len(talk)):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(talk[:length])
        await writer.drain()
        writer.transport.abort()
    await until(lambda: not server._service.connections)
    await still_works(server)


async def test_endpoint_sends_requested_heartbeats(server: EventHubsServer) -> None:
    """The endpoint sends empty frames within the peer's idle timeout."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(AMQP_HEADER + open_frame(idle_timeout_ms=200))
    async with asyncio.timeout(PATIENCE):
        await reader.readexactly(8)
        size = struct.unpack(">I", await reader.readexactly(4))[0]
        await reader.readexactly(size - 4)
        for _ in range(3):
            assert await reader.readexactly(8) == b"\x00\x00\x00\x08\x02\x00\x00\x00"
    writer.close()
    await writer.wait_closed()


async def test_a_silent_peer_is_dropped() -> None:
    """A peer that exceeds the idle timeout is dropped, which frees its receivers' places."""
    async with EventHubsServer(hub(2), idle_timeout_seconds=0.1) as server:
        answer = await exchange(server, AMQP_HEADER + open_frame())
        assert b"amqp:resource-limit-exceeded" in answer
        await until(lambda: not server._service.connections)


@contextlib.asynccontextmanager
async def stopped_reading(server: EventHubsServer) -> AsyncIterator[ClientConnection]:
    """Provide the connection of a receiver that has stopped reading, like a paused process."""
    loop = asyncio.get_running_loop()
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        peer.connect(("127.0.0.1", server.port))
        peer.setblocking(False)
        credit = described(
            *(FLOW, uint(0), uint(2**31 - 1), uint(0), uint(5000)), uint(1), uint(0), uint(1000)
        )
        await loop.sock_sendall(peer, BEGINNING + RECEIVE + frame(credit))
        await until(lambda: bool(server.namespace.hub(HUB).receivers(0, "$Default")))
        append(server, [b"x" * 900_000] * 20)
        (connection,) = server._service.connections
        assert isinstance(connection, ClientConnection)
        await until(lambda: connection._paused)
        yield connection


async def test_silent_peer_that_does_not_read_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The receiver's place is free at once; the socket and its unread data are dropped later."""
    monkeypatch.setattr(module_of_connection, "LINGER_SECONDS", 0.01)
    # Long enough to detect on a busy machine that the peer has stopped reading.
    impatient = EventHubsServer(hub(1), idle_timeout_seconds=1)
    async with impatient as server, stopped_reading(server):
        await until(lambda: not server.namespace.hub(HUB).links)
        await until(lambda: not server._service.connections)


async def test_closing_does_not_wait_for_a_peer_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module_of_connection, "LINGER_SECONDS", 0.01)
    async with EventHubsServer(hub(1)) as server, stopped_reading(server):
        server.faults.drop_connections(politely=True)
        assert not server.namespace.hub(HUB).links
        await until(lambda: not server._service.connections)


def test_proton_client_accepts_padded_frames() -> None:
    """Proton's own client, a second implementation, can send, receive and be refused."""
    with BackgroundServer(EventHubsServer(hub(2))) as background:
        server = background.server
        connection = BlockingConnection(
            f"127.0.0.1:{server.port}", allowed_mechs="ANONYMOUS", timeout=PATIENCE
        )
        try:
            sender = connection.create_sender(f"{HUB}/Partitions/0")
            for number in range(3):
                sender.send(Message(body=b"%d" % number, inferred=True))
            sender.send(Message(body=b"x" * 300_000, inferred=True))
            selector = Selector(
                "amqp.annotation.x-opt-sequence-number > 0",
                name="apache.org:selector-filter:string",
            )
            receiver = connection.create_receiver(RECEIVE_FROM, credit=10, options=selector)
            received = [receiver.receive() for _ in range(3)]
            assert [bytes(message.body) for message in received] == [b"1", b"2", b"x" * 300_000]
            assert [m.annotations["x-opt-sequence-number"] for m in received] == [1, 2, 3]
            with pytest.raises(LinkDetached, match="not-found"):
                connection.create_sender("nosuch")
        finally:
            connection.close()


def test_management_answers_a_foreign_client() -> None:
    """Replies go to the reply-to address with a correlation id; unknown operations get 400."""
    with BackgroundServer(EventHubsServer(hub(2))) as background:
        connection = BlockingConnection(
            f"127.0.0.1:{background.server.port}", allowed_mechs="ANONYMOUS", timeout=PATIENCE
        )
        try:
            receiver = connection.create_receiver("$management", credit=5)
            sender = connection.create_sender("$management")

            def ask(identity: str, **properties: str) -> Message:
                sender.send(Message(id=identity, properties=properties))
                reply = receiver.receive()
                assert reply.correlation_id == identity
                return reply

            found = ask("1", operation="READ", type="com.microsoft:eventhub", name=HUB)
            assert found.properties["status-code"] == 200
            assert list(found.body["partition_ids"].elements) == ["0", "1"]
            assert found.properties["status-description"] == "OK"
            assert found.body["partition_count"] == 2
            missing = ask("2", operation="READ", type="com.microsoft:eventhub", name="nosuch")
            assert missing.properties["status-code"] == 404
            assert missing.properties["error-condition"] == "amqp:not-found"
            assert "could not be found. TrackingId:" in missing.properties["status-description"]
            assert ask("3", operation="WRITE", type="x").properties["status-code"] == 400
            assert ask("4").properties["status-code"] == 400
        finally:
            connection.close()


async def test_a_closed_session_closes_its_receivers(server: EventHubsServer) -> None:
    """The endpoint removes the receivers of a closed session from the partition."""
    async with Reader(server, owner_level=1) as reader:
        await until(lambda: reader.attached)
        await reader._consumer._handler._session.end()
        await until(lambda: not server.namespace.hub(HUB).receivers(0, "$Default"))


async def recorded_conversations(server: EventHubsServer) -> list[bytes]:
    """Return the bytes that a producer and a consumer send, per connection."""
    conversations: list[bytearray] = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", server.port)
        conversation = bytearray()
        conversations.append(conversation)

        async def answers() -> None:
            while data := await there.read(65536):
                writer.write(data)
            writer.close()

        answering = asyncio.create_task(answers())
        try:
            while data := await reader.read(65536):
                conversation.extend(data)
                back.write(data)
        except ConnectionError:
            pass
        back.close()
        await asyncio.gather(answering, return_exceptions=True)

    proxy = await asyncio.start_server(forward, "127.0.0.1", 0)
    async with proxy:
        port = proxy.sockets[0].getsockname()[1]
        through = server.connection_string.replace(f":{server.port}", f":{port}")
        client = EventHubProducerClient.from_connection_string(through, eventhub_name=HUB)
        async with client:
            batch = await client.create_batch(partition_key="k")
            for number in range(5):
                event = EventData(b"%d" % number)
                event.properties = {"number": number}
                batch.add(event)
            await client.send_batch(batch)
            await client.get_partition_properties("0")
        append(server, [b"1", b"2"])
        reader = Reader(server)
        reader._client._address = reader._client._address._replace(hostname=f"127.0.0.1:{port}")
        reader._consumer._source = reader._consumer._source.replace(f":{server.port}", f":{port}")
        async with reader:
            assert bodies(await reader.receive(1))
    return [bytes(conversation) for conversation in conversations]


async def test_damaged_conversations_do_not_affect_other_clients(
    server: EventHubsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The endpoint survives recorded conversations with changed, removed and doubled bytes.

    Another client with an open link can send and receive during the test.
    """
    conversations = await recorded_conversations(server)
    assert len(conversations) >= 2
    chance = random.Random(20)  # noqa: S311 - reproducible damage, no secret
    with caplog.at_level(logging.ERROR):
        async with producer(server) as bystander, Reader(server, "1") as reader:
            for round_number in range(60):
                damaged = damage(chance.choice(conversations), chance)
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(damaged)
                await asyncio.sleep(0.005)
                writer.transport.abort()
                if round_number % 20 == 0:
                    await bystander.send_event(EventData(b"b"), partition_id="1")
                    while bodies(await reader.receive(1)) != [b"b"]:
                        pass
    assert caplog.records == []


def damage(data: bytes, chance: random.Random) -> bytes:
    broken = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(broken))
        stop = min(len(broken), start + chance.randint(1, 40))
        match chance.randrange(4):
            case 0:
                broken[start] = chance.randrange(256)
            case 1:
                broken[start] ^= 1 << chance.randrange(8)
            case 2:
                del broken[start:stop]
            case _:
                broken[start:start] = broken[start:stop]
        if not broken:
            break
    return bytes(broken)
