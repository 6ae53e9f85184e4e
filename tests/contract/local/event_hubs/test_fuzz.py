"""Peers that send invalid input, which must not harm the endpoint or other clients."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Iterator

import pytest
from azure.eventhub import EventData
from azure.eventhub._pyamqp._decode import decode_frame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proton import Message

from local.event_hubs import EventHubsServer
from local.event_hubs.connection import endpoints
from local.event_hubs.connection.connection import (
    MAX_READ_WHILE_PAUSED,
    READ_SIZE,
    ClientConnection,
)
from local.event_hubs.protocol.sasl import AMQP_HEADER
from tests.support.event_hubs.client_helpers import (
    HUB,
    PATIENCE,
    BackgroundServer,
    Reader,
    append,
    bodies,
    hub,
    producer,
    until,
)
from tests.support.event_hubs.frames import (
    BEGINNING,
    BODY,
    CLOSE,
    ENDING,
    FLOW,
    FRAMES,
    PUBLISH,
    RECEIVE,
    attach,
    described,
    frame,
    transfer,
    uint,
)

BEGUN = b"\x00\x53\x11"


@pytest.fixture(scope="module")
def background() -> Iterator[BackgroundServer]:
    """Provide one endpoint for all examples."""
    with BackgroundServer(EventHubsServer(hub(2))) as background:
        yield background


def talk(port: int, data: bytes) -> bytes:
    """Begin a session, send bytes, and return all output until the endpoint closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(BEGINNING)
        answer = b""
        while BEGUN not in answer:  # the session window opens with the begin
            answer += connection.recv(65536)
        connection.sendall(data)
        try:
            while found := connection.recv(65536):
                answer += found
        except ConnectionResetError:
            pass
        return answer


def frames_of(answer: bytes) -> Iterator[bytes]:
    """Yield the frames of an answer, which must consist of complete frames."""
    assert answer.startswith(AMQP_HEADER)
    position = 8
    while position < len(answer):
        size = struct.unpack_from(">I", answer, position)[0]
        assert 8 <= size <= len(answer) - position
        yield answer[position : position + size]
        position += size


def close_condition(answer: bytes) -> str | None:
    """Return the condition of the close frame, which must be the only and last close."""
    performatives = [found[8:] for found in frames_of(answer) if len(found) > 8]
    kinds = [performative[2] for performative in performatives]
    assert kinds.count(CLOSE) == 1
    assert kinds[-1] == CLOSE
    _, fields = decode_frame(memoryview(performatives[-1]))
    if fields[0] is None:
        return None
    assert len(fields[0]) == 3
    return str(fields[0][0], "ascii")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([b"", PUBLISH, RECEIVE, PUBLISH + RECEIVE]), st.lists(FRAMES, max_size=6))
def test_any_frames_are_answered_with_a_close(
    background: BackgroundServer,
    caplog: pytest.LogCaptureFixture,
    links: bytes,
    frames: list[bytes],
) -> None:
    """Each peer gets an AMQP close with a condition, and its connection is removed."""
    server = background.server
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        answer = talk(server.port, links + b"".join(frames) + ENDING)
        condition = close_condition(answer)
        assert condition != "amqp:internal-error"
        assert condition is None or condition.startswith("amqp:"), condition
        server_side = background.call(lambda: set(server._service.connections))
        assert len(server_side) <= 1  # the loop may not have reported the lost socket yet
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


def test_the_endpoint_works_after_fuzzing(background: BackgroundServer) -> None:
    """No link is left over, and a correct peer is served."""
    server = background.server
    answer = talk(server.port, PUBLISH + frame(transfer(0, 0, BODY)) + ENDING)
    assert close_condition(answer) is None
    assert background.call(lambda: server.namespace.hub(HUB).links) == set()


async def test_a_peer_that_never_reads_cannot_fill_the_memory(server: EventHubsServer) -> None:
    """The endpoint stops reading from a peer with too many unread answers; others are served.

    An answer repeats the request's long id, so that few answers fill the socket buffers.
    """
    request = Message(id="x" * 10_000).encode()
    asks = frame(attach(0, "$management")) + frame(attach(1, "$management", receives=True))
    credit = described(
        *(FLOW, uint(0), uint(2**31 - 1), uint(0), uint(5000)), uint(1), uint(0), uint(2**31)
    )
    loop = asyncio.get_running_loop()
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        peer.connect(("127.0.0.1", server.port))
        peer.setblocking(False)
        await loop.sock_sendall(peer, BEGINNING + asks + frame(credit))
        await until(lambda: bool(server._service.connections))
        (connection,) = server._service.connections
        assert isinstance(connection, ClientConnection)
        await until(lambda: len(connection.endpoints.links) == 2)

        async def send_requests() -> None:
            for number in range(5_000):
                await loop.sock_sendall(peer, frame(transfer(0, number, request)))

        asking = asyncio.create_task(send_requests())
        transport = connection._socket
        assert transport is not None
        await until(lambda: not transport.is_reading() or asking.done())
        assert not asking.done(), "the endpoint has read all requests"
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert connection._paused
        assert connection._read_while_paused <= MAX_READ_WHILE_PAUSED + READ_SIZE
        append(server, [b"a"], 1)
        async with producer(server) as client, Reader(server, "1") as reader:
            await client.send_event(EventData(b"b"), partition_id="1")
            assert bodies(await reader.receive(2)) == [b"a", b"b"]
        answers = await loop.sock_recv(peer, 65536)
        assert answers.startswith(AMQP_HEADER)
        while connection._read_while_paused:
            await loop.sock_recv(peer, 1024 * 1024)
    await until(lambda: not server._service.connections)


async def test_links_are_counted(server: EventHubsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused links also count; a connection with too many links is closed."""
    monkeypatch.setattr(endpoints, "MAX_LINKS", 20)
    allowed = b"".join(frame(attach(n, "nosuch" if n % 2 else HUB)) for n in range(20))
    answer = await asyncio.to_thread(talk, server.port, allowed + ENDING)
    assert close_condition(answer) is None
    one_more = frame(attach(20, HUB))
    answer = await asyncio.to_thread(talk, server.port, allowed + one_more + ENDING)
    assert close_condition(answer) == "amqp:resource-limit-exceeded"


async def test_unfinished_transfers_are_limited(
    server: EventHubsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit counts the unfinished deliveries of all links of a connection."""
    monkeypatch.setattr(endpoints, "MAX_UNFINISHED_BYTES", 100_000)
    parts = b"".join(
        frame(attach(n, HUB)) + frame(transfer(n, n, b"x" * 30_000, more=True)) for n in range(3)
    )
    answer = await asyncio.to_thread(talk, server.port, parts + ENDING)
    assert close_condition(answer) is None
    last = frame(attach(3, HUB)) + frame(transfer(3, 3, b"x" * 30_000, more=True))
    answer = await asyncio.to_thread(talk, server.port, parts + last + ENDING)
    assert close_condition(answer) == "amqp:resource-limit-exceeded"
