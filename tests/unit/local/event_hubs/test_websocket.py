"""The WebSocket layer: payload in frames of any size, and refused requests."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets import http11

from local.event_hubs.protocol.handshake import Handshake
from local.event_hubs.protocol.sasl import AMQP_HEADER
from local.event_hubs.protocol.websocket import MAX_FRAME_BYTES, WebSocketServer, is_http

REQUEST = (
    b"GET /$servicebus/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: chat, AMQPWSB10\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
BINARY, TEXT, CLOSE, PING = 0x2, 0x1, 0x8, 0x9
MASK = b"\x01\x02\x03\x04"


def masked(data: bytes, opcode: int = BINARY, *, final: bool = True) -> bytes:
    """Return a masked frame, as clients send it."""
    size = len(data)
    head = bytes((opcode | (0x80 if final else 0),))
    if size < 126:
        head += bytes((0x80 | size,))
    elif size < 65536:
        head += b"\xfe" + size.to_bytes(2)
    else:
        head += b"\xff" + size.to_bytes(8)
    return head + MASK + bytes(a ^ b for a, b in zip(data, itertools.cycle(MASK)))


def opened() -> WebSocketServer:
    server = WebSocketServer()
    server.feed(REQUEST)
    return server


def test_the_handshake_follows_the_standard() -> None:
    """The example key of RFC 6455 gets its answer, and the response names the offered protocol."""
    payload, answer = WebSocketServer().feed(REQUEST + masked(b"early"))
    assert payload == b"early"
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert b"Sec-WebSocket-Protocol: AMQPWSB10\r\n" in answer


@given(st.lists(st.binary(max_size=300), max_size=5), st.data())
def test_the_stream_may_be_split_at_any_byte(messages: list[bytes], data: st.DataObject) -> None:
    """Messages may also be fragmented, with pings between the fragments."""
    stream = REQUEST
    for message in messages:
        stream += masked(message[:7], final=False) + masked(b"hello", PING)
        stream += masked(message[7:], 0x0)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    server = WebSocketServer()
    payload, answer = b"", b""
    for start, stop in itertools.pairwise([0, *cuts, len(stream)]):
        found, said = server.feed(stream[start:stop])
        payload += found
        answer += said
    assert payload == b"".join(messages)
    assert answer.count(b"\x8a\x05hello") == len(messages)
    assert not server.closed


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 200_000])
def test_frames_of_every_size_are_written(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    assert opened().feed(masked(data))[0] == data
    framed = opened().frame(data)
    head = len(framed) - size
    assert framed[head:] == data
    assert head == (2 if size < 126 else 4 if size < 65536 else 10)
    assert framed[1] < 0x80, "a server must not mask frames"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x82\x01x", 1002),
        (masked(b"x", TEXT), 1003),
        (masked(b"x", 0x3), 1002),
        (masked(b"x" * 126, PING), 1002),
        (b"\xc2" + masked(b"x")[1:], 1002),
    ],
)
def test_an_invalid_frame_closes_the_websocket(frame: bytes, code: int) -> None:
    server = opened()
    payload, answer = server.feed(frame)
    assert payload == b""
    assert server.closed
    assert answer[:1] == b"\x88"
    assert answer[2:4] == code.to_bytes(2)


def test_a_close_is_answered() -> None:
    server = opened()
    assert server.feed(masked(b"\x03\xe8bye", CLOSE) + masked(b"late")) == (
        b"",
        b"\x88\x05\x03\xe8bye",
    )
    assert server.closed


@pytest.mark.parametrize(
    ("request_bytes", "status", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426, b"WebSocket"),
        (
            REQUEST.replace(b"AMQPWSB10", b"mqtt"),
            400,
            b"supported subprotocols are amqp and amqpwsb10",
        ),
        (b"GET /" + b"x" * 9000, 414, b"no more than 8192 bytes"),
    ],
)
def test_other_requests_are_refused(
    monkeypatch: pytest.MonkeyPatch, request_bytes: bytes, status: int, reason: bytes
) -> None:
    # A console in the same process, of another test, raises the limit of the package.
    monkeypatch.setattr(http11, "MAX_LINE_LENGTH", 8192)
    server = WebSocketServer()
    _, answer = server.feed(request_bytes)
    assert server.closed
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert reason in answer


def test_an_early_ping_is_answered_after_the_handshake() -> None:
    _, answer = WebSocketServer().feed(REQUEST + masked(b"hello", PING))
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.endswith(b"\x8a\x05hello")


def test_a_frame_larger_than_the_limit_is_refused() -> None:
    server = opened()
    _, answer = server.feed(b"\x82\xff" + (MAX_FRAME_BYTES + 1).to_bytes(8) + MASK)
    assert server.closed
    assert answer[2:4] == (1009).to_bytes(2)


def test_nothing_is_written_after_a_close() -> None:
    server = opened()
    server.feed(masked(b"\x03\xe8", CLOSE))
    assert server.frame(b"late") == b""


@given(st.binary(max_size=60))
def test_any_bytes_are_accepted_or_close_the_websocket(data: bytes) -> None:
    server = opened()
    payload, _ = server.feed(data)
    assert len(payload) <= len(data)


def test_only_a_get_request_is_treated_as_http() -> None:
    assert is_http(b"G")
    assert is_http(b"GET /")
    assert not is_http(AMQP_HEADER)
    assert not is_http(b"GEH ")


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_amqp_passes_through_all_layers(step: int) -> None:
    handshake = Handshake()
    stream = REQUEST + masked(AMQP_HEADER + b"fra") + masked(b"mes")
    found = b"".join(
        handshake.feed(stream[start : start + step])[0] for start in range(0, len(stream), step)
    )
    assert handshake.amqp
    assert found == b"frames"
    assert handshake.wrap(b"out") == b"\x82\x03out"
