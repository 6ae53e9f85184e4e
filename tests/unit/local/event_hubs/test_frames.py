"""Splitting and padding of frames from a stream that is split at any byte."""

from __future__ import annotations

import itertools
import struct

import pytest
from azure.eventhub._pyamqp._decode import decode_frame
from azure.eventhub._pyamqp._encode import encode_frame
from azure.eventhub._pyamqp.performatives import TransferFrame
from hypothesis import given
from hypothesis import strategies as st

from local.event_hubs.errors import AmqpError
from local.event_hubs.protocol.frames import (
    FIELD_COUNTS,
    Frame,
    FramePadder,
    FrameReader,
    message_format,
    pad_frame,
    reserve_padding_room,
)

HEADER = b"AMQP\x00\x01\x00\x00"


def frame(code: int, fields: list[bytes], payload: bytes = b"", *, wide: bool = False) -> bytes:
    """Return a frame with a performative of encoded fields, in the short or long form."""
    content = b"".join(fields)
    if not fields and not wide:
        body = b"\x45"
    elif wide or len(content) > 254:
        body = b"\xd0" + struct.pack(">II", len(content) + 4, len(fields)) + content
    else:
        body = bytes((0xC0, len(content) + 1, len(fields))) + content
    body = b"\x00\x53" + bytes((code,)) + body + payload
    return struct.pack(">IBBH", len(body) + 8, 2, 0, 3) + body


FIELDS = st.sampled_from(
    [b"\x40", b"\x43", b"\x41", b"\x52\x07", b"\x70\x00\x01\x00\x00", b"\xa1\x03abc", b"\xa0\x00"]
)


@given(
    st.sampled_from(sorted(code for code in FIELD_COUNTS if 0x10 <= code <= 0x18)),
    st.lists(FIELDS, max_size=11),
    st.binary(max_size=300),
    st.booleans(),
)
def test_padding_adds_nulls_and_nothing_else(
    code: int, fields: list[bytes], payload: bytes, wide: bool
) -> None:
    """The SDK's own parser finds every field of the standard and the unchanged payload."""
    fields = fields[: FIELD_COUNTS[code]]
    payload = payload if code == 0x14 else b""
    padded = pad_frame(frame(code, fields, payload, wide=wide))
    assert struct.unpack(">I", padded[:4])[0] == len(padded)
    assert padded[4:8] == b"\x02\x00\x00\x03"
    kind, values = decode_frame(memoryview(padded[8:]))
    if code == 0x14:
        assert bytes(values.pop()) == payload
    assert kind == code
    assert len(values) == FIELD_COUNTS[code]
    if fields:
        expected = decode_frame(memoryview(frame(0x10, fields, wide=wide)[8:]))[1]
        assert values[: len(fields)] == expected
    assert set(map(str, values[len(fields) :])) <= {"None"}


@pytest.mark.parametrize("code", [0x16, 0x17, 0x18])
def test_errors_are_padded_too(code: int) -> None:
    """Proton sends a condition and description without an info map; the SDK reads all three."""
    error = b"\x00\x53\x1d\xc0\x13\x02\xa3\x0eamqp:not-found\xa1\x00"
    leading = [b"\x43", b"\x41"] if code == 0x16 else []
    _, values = decode_frame(memoryview(pad_frame(frame(code, [*leading, error]))[8:]))
    assert values[-1] == [b"amqp:not-found", b"", None]


def test_a_rejection_contains_a_padded_error() -> None:
    error = b"\x00\x53\x1d\xc0\x05\x01\xa3\x02xy"
    state = b"\x00\x53\x25\xc0" + bytes((len(error) + 1, 1)) + error
    fields = [b"\x41", b"\x43", b"\x43", b"\x41", state]
    _, values = decode_frame(memoryview(pad_frame(frame(0x15, fields))[8:]))
    assert values[4] == {"rejected": [[b"xy", None, None]]}


def test_empty_and_foreign_frames_are_not_changed() -> None:
    empty = b"\x00\x00\x00\x08\x02\x00\x00\x00"
    sasl = b"\x00\x00\x00\x0c\x02\x01\x00\x00\x00\x53\x44\x45"
    assert pad_frame(empty) == empty
    assert pad_frame(sasl) == sasl


@given(st.lists(st.binary(max_size=80), max_size=6), st.data())
def test_the_stream_may_be_split_at_any_byte(payloads: list[bytes], data: st.DataObject) -> None:
    """Padder and reader return the same frames for any chunks."""
    whole = [frame(0x14, [b"\x43", b"\x43"], payload) for payload in payloads]
    stream = HEADER + b"".join(whole)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    bounds = [0, *cuts, len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(bounds)]
    padder = FramePadder()
    assert b"".join(padder.feed(chunk) for chunk in chunks) == HEADER + b"".join(
        map(pad_frame, whole)
    )
    reader = FrameReader(1000)
    frames = [found.data for chunk in _without_header(chunks) for found in reader.feed(chunk)]
    assert frames == whole


def _without_header(chunks: list[bytes]) -> list[bytes]:
    rest, skipped = [], 0
    for chunk in chunks:
        skip = min(8 - skipped, len(chunk))
        skipped += skip
        rest.append(chunk[skip:])
    return rest


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x07\x02\x00\x00\x00",
        b"\x00\x00\x10\x00\x02\x00\x00\x00",
        b"\x00\x00\x00\x10\x01\x00\x00\x00",
        b"\x00\x00\x00\x10\x05\x00\x00\x00",
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_an_invalid_header_is_a_framing_error(data: bytes) -> None:
    with pytest.raises(AmqpError, match="framing-error"):
        list(FrameReader(1024).feed(data))


def read(data: bytes) -> Frame:
    (found,) = FrameReader(1 << 20).feed(data)
    return found


@pytest.mark.parametrize("value", [None, 0, 1, 255, 0x80013700])
def test_the_message_format_is_read_from_the_transfer(value: int | None) -> None:
    transfer = TransferFrame(
        handle=3,
        delivery_id=9,
        delivery_tag=b"tag",
        message_format=value,
        settled=False,
        more=False,
        payload=b"payload",
    )
    header, body = encode_frame(transfer)
    assert body is not None
    assert message_format(read(header + b"\x00\x01" + bytes(body))) == (3, value)


def test_a_continuation_has_no_message_format() -> None:
    assert message_format(read(frame(0x14, [b"\x52\x05"]))) == (5, None)
    assert message_format(read(frame(0x14, []))) == (0, None)


@pytest.mark.parametrize(
    ("announced", "expected"), [(65536, 65504), (512, 512), (520, 512), (1 << 31, (1 << 31) - 32)]
)
def test_room_for_padding_is_reserved(announced: int, expected: int) -> None:
    """Proton gets a smaller frame size, so that padded frames do not exceed the peer's limit."""
    size = b"\x70" + struct.pack(">I", announced)
    open_frame = frame(0x10, [b"\xa1\x01c", b"\xa1\x01h", size, b"\x60\xff\xff"])
    patched = reserve_padding_room(read(open_frame))
    assert decode_frame(memoryview(patched[8:]))[1][2] == expected


def test_an_open_without_a_frame_size_is_not_changed() -> None:
    data = frame(0x10, [b"\xa1\x01c"])
    assert reserve_padding_room(read(data)) == data
    data = frame(0x10, [b"\xa1\x01c", b"\x40", b"\x40"])
    assert reserve_padding_room(read(data)) == data
