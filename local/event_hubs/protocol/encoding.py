"""The part of the AMQP 1.0 type system that is needed to skip encoded values without decoding."""

from __future__ import annotations

import struct

from local.event_hubs.errors import malformed

type Buffer = bytes | bytearray | memoryview

SMALL_ULONG = 0x53
ULONG = 0x80
NULL = 0x40
LIST0 = 0x45
LIST8 = 0xC0
LIST32 = 0xD0
MAP8 = 0xC1
MAP32 = 0xD1

U32 = struct.Struct(">I")
U64 = struct.Struct(">Q")

# The upper half of a constructor gives the width of the value.
_FIXED_WIDTH = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
_SIZE8 = (0xA, 0xC, 0xE)
_SIZE32 = (0xB, 0xD, 0xF)


def skip_value(data: Buffer, position: int) -> int:
    """Return the position after the value whose constructor is at `position`.

    Raises:
        AmqpError: `amqp:decode-error`, the value is truncated or has an unknown constructor.
    """
    try:
        constructor = data[position]
        if constructor == 0:
            position = skip_value(data, position + 1)
            constructor = data[position]
            if constructor == 0:
                raise malformed("a described value contains another described value")
        position += 1
        kind = constructor >> 4
        if kind in _SIZE8:
            end = position + 1 + data[position]
        elif kind in _SIZE32:
            end = position + 4 + U32.unpack_from(data, position)[0]
        else:
            end = position + _FIXED_WIDTH[kind]
    except (IndexError, KeyError, struct.error):
        raise malformed(f"no value at byte {position}") from None
    if end > len(data):
        raise malformed(f"a value is truncated at byte {len(data)}")
    return end


def read_descriptor(data: Buffer, position: int) -> tuple[int, int]:
    """Read the numeric descriptor of a described value; return the descriptor and value position.

    Raises:
        AmqpError: `amqp:decode-error`, the position has no numeric descriptor.
    """
    try:
        if data[position] == 0:
            if data[position + 1] == SMALL_ULONG:
                return data[position + 2], position + 3
            if data[position + 1] == ULONG:
                return U64.unpack_from(data, position + 2)[0], position + 10
    except (IndexError, struct.error):
        pass
    raise malformed(f"no numeric descriptor at byte {position}")


def read_compound(data: Buffer, position: int) -> tuple[int, int, int]:
    """Read the head of a list or map.

    Returns:
        The number of elements, the position of the first element and the end of the last element.

    Raises:
        AmqpError: `amqp:decode-error`, the value is not a list or map, or is truncated.
    """
    end = skip_value(data, position)
    constructor = data[position]
    if constructor == LIST0:
        return 0, end, end
    # `skip_value` has checked the size, but a value of size 0 has no room for the count.
    if constructor in (LIST8, MAP8) and end - position >= 3:
        return data[position + 2], position + 3, end
    if constructor in (LIST32, MAP32) and end - position >= 9:
        return U32.unpack_from(data, position + 5)[0], position + 9, end
    raise malformed(f"neither a list nor a map at byte {position}")


def read_uint(data: Buffer, position: int) -> int | None:
    """Read an unsigned 32-bit value; return None for null.

    Raises:
        AmqpError: `amqp:decode-error`, the value has another type.
    """
    try:
        constructor = data[position]
        if constructor == NULL:
            return None
        if constructor == 0x43:
            return 0
        if constructor == 0x52:
            return data[position + 1]
        if constructor == 0x70:
            return int(U32.unpack_from(data, position + 1)[0])
    except (IndexError, struct.error):
        pass
    raise malformed(f"no unsigned integer at byte {position}")
