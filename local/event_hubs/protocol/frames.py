"""AMQP frames on their way in and out.

Out: the stock Python SDK indexes a performative's fields without looking at their count, but
Proton omits trailing nulls, as the standard allows. So the padder rewrites each performative (and
the errors inside) to its full field count between Proton and the socket.

In: Proton's engine does not tell a delivery's message format, which is what marks a batch, so the
reader hands Proton one frame at a time and reads the format off the transfer.
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
"""Bytes that padding may add to a full-size transfer frame, at most."""

_MIN_MAX_FRAME_SIZE = 512
_HEADER = struct.Struct(">IBBH")
_AMQP = 0
_NULLS = [bytes([NULL]) * count for count in range(16)]


class Frame(NamedTuple):
    """A frame as it came in.

    Attributes:
        data: all its bytes.
        code: the performative's descriptor; None for an empty frame or one that is not AMQP's.
        body: where the performative's fields (a list) start in `data`.
    """

    data: bytes
    code: int | None
    channel: int
    body: int


class FrameReader:
    """Cuts a stream into frames."""

    def __init__(self, max_frame_size: int) -> None:
        self._max = max_frame_size
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Frame]:
        """Take in bytes; yield the frames that are complete.

        Raises:
            AmqpError: `amqp:connection:framing-error`, this is no AMQP.
        """
        buffer = self._buffer
        buffer += data
        position = 0
        try:
            while len(buffer) - position >= 8:
                size, offset, kind, channel = _HEADER.unpack_from(buffer, position)
                if size < 8 or size > self._max or offset < 2 or offset * 4 > size:
                    raise AmqpError(FRAMING_ERROR, f"no valid frame header: size {size}")
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
    """Pads Proton's output. Bytes come in as Proton gives them, frames cut anywhere."""

    def __init__(self) -> None:
        self._buffer = b""
        self._in_header = True

    def feed(self, data: bytes | bytearray) -> bytes:
        """Take in output; return what can go to the socket now."""
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
    """Return the frame with its performative's omitted fields written out as nulls."""
    start = frame[4] * 4
    if frame[5] != _AMQP or len(frame) == start:
        return frame
    # Deliveries are most of what goes out: 00 53 14 c0 <size> <count> …, in one go.
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
    """Copy the value at `position`, padded where its descriptor is known; return its end, too."""
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
    """Read a transfer's link handle and its message format (None if the field is null).

    Raises:
        AmqpError: `amqp:decode-error`.
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
    """Read the handle that a detach begins with; 0 if it is missing.

    Raises:
        AmqpError: `amqp:decode-error`.
    """
    count, position, _ = read_compound(frame.data, frame.body)
    return (read_uint(frame.data, position) if count else None) or 0


def reserve_padding_room(frame: Frame) -> bytes:
    """Lower the frame size that a peer's open allows, so that padding never exceeds it.

    Raises:
        AmqpError: `amqp:decode-error`.
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
