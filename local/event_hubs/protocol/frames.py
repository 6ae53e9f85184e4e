"""Incoming and outgoing AMQP frames.

Outgoing frames are padded. Proton omits trailing null fields, as the standard allows, but the
stock Python SDK reads a performative's fields without checking the field count. The padder
therefore rewrites each performative (and the errors inside) to the full field count.

Incoming frames are passed to Proton one at a time. Proton's engine does not report a delivery's
message format, which marks a batch, so the format is read from the transfer frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from local.event_hubs.errors import FRAMING_ERROR, AmqpError
from local.event_hubs.protocol.encoding import (
    LIST8,
    NULL,
    U32,
    read_compound,
    read_descriptor,
    read_uint,
    skip_value,
)

OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
_ERROR, _REJECTED = 0x1D, 0x25

FIELD_COUNTS = {
    OPEN: 10,
    BEGIN: 8,
    ATTACH: 14,
    FLOW: 11,
    TRANSFER: 11,
    DISPOSITION: 6,
    DETACH: 3,
    END: 1,
    CLOSE: 1,
    _ERROR: 3,
    _REJECTED: 1,
}

PADDING_ROOM = 32
"""The most bytes that padding can add to a full-size transfer frame."""

_MIN_MAX_FRAME_SIZE = 512
_HEADER = struct.Struct(">IBBH")
_AMQP = 0
_NULLS = [bytes([NULL]) * count for count in range(16)]


class Frame(NamedTuple):
    """A received frame.

    Attributes:
        data: all bytes of the frame.
        code: the performative's descriptor; None for an empty frame or a frame of another type.
        channel: the AMQP channel.
        body: position of the performative's fields (a list) in `data`.
    """

    data: bytes
    code: int | None
    channel: int
    body: int


class FrameReader:
    """A splitter of a byte stream into frames."""

    def __init__(self, max_frame_size: int) -> None:
        self._max = max_frame_size
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Frame]:
        """Add bytes and yield the frames that are complete.

        Raises:
            AmqpError: `amqp:connection:framing-error`, a frame header is invalid.
        """
        buffer = self._buffer
        buffer += data
        position = 0
        try:
            while len(buffer) - position >= 8:
                size, offset, kind, channel = _HEADER.unpack_from(buffer, position)
                if size < 8 or size > self._max or offset < 2 or offset * 4 > size:
                    raise AmqpError(FRAMING_ERROR, f"invalid frame header with size {size}")
                if len(buffer) - position < size:
                    break
                frame = bytes(buffer[position : position + size])
                position += size
                code, body = None, 0
                if kind == _AMQP and size > offset * 4:
                    code, body = read_descriptor(frame, offset * 4)
                yield Frame(frame, code, channel, body)
        finally:
            del buffer[:position]


class FramePadder:
    """A padder of Proton's output, which may split frames at any byte."""

    def __init__(self) -> None:
        self._buffer = b""
        self._in_header = True

    def feed(self, data: bytes | bytearray) -> bytes:
        """Add output of Proton and return the bytes that can be written to the socket now."""
        buffer = self._buffer + data
        position, size = 0, len(buffer)
        ready: list[bytes] = []
        if self._in_header:
            if size < 8:
                self._buffer = buffer
                return b""
            ready.append(buffer[:8])
            position = 8
            self._in_header = False
        while size - position >= 8:
            end = position + U32.unpack_from(buffer, position)[0]
            if end > size:
                break
            ready.append(pad_frame(buffer[position:end]))
            position = end
        self._buffer = buffer[position:]
        return b"".join(ready)


def pad_frame(frame: bytes) -> bytes:
    """Return the frame with the omitted fields of the performative added as nulls."""
    start = frame[4] * 4
    if frame[5] != _AMQP or len(frame) == start:
        return frame
    # Fast path, because most output is deliveries: 00 53 14 c0 <size> <count> …
    if frame[start + 2] == TRANSFER and frame[start + 3] == LIST8 and frame[start + 1] == 0x53:
        size = frame[start + 4]
        missing = FIELD_COUNTS[TRANSFER] - frame[start + 5]
        if size + missing <= 0xFF:
            fields_end = start + 5 + size
            return b"".join(
                (
                    U32.pack(len(frame) + missing),
                    frame[4 : start + 4],
                    bytes((size + missing, frame[start + 5] + missing)),
                    frame[start + 6 : fields_end],
                    _NULLS[missing],
                    frame[fields_end:],
                )
            )
    padded, end = _pad_value(frame, start)
    return b"".join(
        (U32.pack(start + len(padded) + len(frame) - end), frame[4:start], padded, frame[end:])
    )


def _pad_value(data: bytes, position: int) -> tuple[bytes, int]:
    """Return the value at `position`, padded if the descriptor is known, and the value's end."""
    if data[position] != 0:
        end = skip_value(data, position)
        return data[position:end], end
    code, start = read_descriptor(data, position)
    wanted = FIELD_COUNTS.get(code)
    if wanted is None:
        end = skip_value(data, position)
        return data[position:end], end
    count, element, end = read_compound(data, start)
    fields: list[bytes] = []
    for _ in range(count):
        field, element = _pad_value(data, element)
        fields.append(field)
    fields.append(_NULLS[max(0, wanted - count)])
    content = b"".join(fields)
    count = max(count, wanted)
    if len(content) + 1 <= 0xFF:
        head = bytes((LIST8, len(content) + 1, count))
    else:
        head = b"\xd0" + U32.pack(len(content) + 4) + U32.pack(count)
    return data[position:start] + head + content, end


def message_format(frame: Frame) -> tuple[int, int | None]:
    """Return a transfer's link handle and message format (None if the field is null).

    Raises:
        AmqpError: `amqp:decode-error`, the transfer is malformed.
    """
    data = frame.data
    count, position, _ = read_compound(data, frame.body)
    handle = read_uint(data, position) if count else None
    if count < 4:
        return handle or 0, None
    for _ in range(3):
        position = skip_value(data, position)
    return handle or 0, read_uint(data, position)


def link_handle(frame: Frame) -> int:
    """Return the link handle of a detach; 0 if the field is missing.

    Raises:
        AmqpError: `amqp:decode-error`, the detach is malformed.
    """
    count, position, _ = read_compound(frame.data, frame.body)
    return (read_uint(frame.data, position) if count else None) or 0


def reserve_padding_room(frame: Frame) -> bytes:
    """Lower the frame size in a peer's open, so that padded frames do not exceed the peer's limit.

    Raises:
        AmqpError: `amqp:decode-error`, the open is malformed.
    """
    data = frame.data
    count, position, _ = read_compound(data, frame.body)
    if count < 3:
        return data
    position = skip_value(data, skip_value(data, position))
    size = read_uint(data, position)
    if size is None or data[position] != 0x70:
        return data
    room = max(_MIN_MAX_FRAME_SIZE, size - PADDING_ROOM) if size >= _MIN_MAX_FRAME_SIZE else size
    return data[: position + 1] + U32.pack(room) + data[position + 5 :]
