"""Decoding of received messages that keeps the AMQP types of values apart.

The SDK returns texts and binary values alike as bytes, and timestamps as numbers. It reads no chars
and only small decimals. The Functions host writes a different JSON value for each type. Therefore
this module reads annotations and application properties itself. The SDK decodes all other sections;
its version is pinned.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

from azure.eventhub._pyamqp._decode import _DECODE_BY_CONSTRUCTOR
from azure.eventhub._pyamqp.message import Properties

from local.functions_host.triggers.event_hubs.event import ReceivedEvent

type Decoder = Callable[[memoryview], tuple[memoryview, Any]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANNOTATIONS, _PROPERTIES, _APPLICATION_PROPERTIES = 0x72, 0x73, 0x74
_DATA, _SEQUENCE, _VALUE = 0x75, 0x76, 0x77
_MAP_SMALL, _MAP_LARGE = 0xC1, 0xD1
_COMPOUNDS = (0x45, 0xC0, 0xD0, _MAP_SMALL, _MAP_LARGE, 0xE0, 0xF0)
_EXACT = Context(prec=40)


class UnreadableEventError(Exception):
    """A message that Microsoft's .NET client cannot read.

    This is not a ValueError, because the SDK takes a ValueError for the end of its link.
    """


def decode_event(payload: memoryview) -> ReceivedEvent:
    """Decode a message.

    Raises:
        UnreadableEventError: an application property is a list, a map or an array.
    """
    sections: list[bytes] = []
    annotations: dict[str, Any] = {}
    application_properties: dict[str, Any] = {}
    properties: Properties | None = None
    has_bytes = True
    while payload:
        # A section is a described value: 0x00, the descriptor (smallulong), the value.
        section, constructor = payload[2], payload[3]
        if section == _ANNOTATIONS:
            payload, annotations = _read_map(payload[3:], _ANNOTATION_VALUES)
        elif section == _APPLICATION_PROPERTIES:
            payload, application_properties = _read_map(payload[3:], _PROPERTY_VALUES)
        elif section in (_SEQUENCE, _VALUE):
            has_bytes = False
            break  # only a footer can follow
        else:
            payload, value = _DECODE_BY_CONSTRUCTOR[constructor](payload[4:])
            if section == _DATA:
                sections.append(value)
            elif section == _PROPERTIES:
                properties = Properties(*value)
    body = sections[0] if len(sections) == 1 else b"".join(sections)
    return ReceivedEvent(
        body if has_bytes else None, annotations, application_properties, properties
    )


def _read_map(data: memoryview, values: list[Decoder]) -> tuple[memoryview, dict[str, Any]]:
    constructor = data[0]
    if constructor == _MAP_SMALL:
        elements, data = data[2], data[3:]
    elif constructor == _MAP_LARGE:
        elements, data = int.from_bytes(data[5:9]), data[9:]
    else:  # null
        return data[1:], {}
    found = {}
    for _ in range(elements // 2):
        data, name = values[data[0]](data[1:])
        data, value = values[data[0]](data[1:])
        found[name if type(name) is str else str(name)] = value
    return data, found


def _text_small(data: memoryview) -> tuple[memoryview, str]:
    end = data[0] + 1
    return data[end:], str(data[1:end], "utf-8", "replace")


def _text_large(data: memoryview) -> tuple[memoryview, str]:
    end = int.from_bytes(data[:4]) + 4
    return data[end:], str(data[4:end], "utf-8", "replace")


def _char(data: memoryview) -> tuple[memoryview, str]:
    return data[4:], chr(min(int.from_bytes(data[:4]), 0x10FFFF))


def _timestamp(data: memoryview) -> tuple[memoryview, datetime]:
    return data[8:], _instant(int.from_bytes(data[:8], signed=True))


@lru_cache(4096)  # the events of one publication have the same time
def _instant(milliseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        edge = datetime.max if milliseconds > 0 else datetime.min
        return edge.replace(tzinfo=UTC)


def _decimal(width: int, exponent_bits: int, bias: int) -> Decoder:
    """Return the decoder of an IEEE 754 decimal of `width` bytes, binary integer significand."""
    bits = 8 * width

    def decode(data: memoryview) -> tuple[memoryview, Decimal]:
        number = int.from_bytes(data[:width])
        sign = number >> (bits - 1)
        if (number >> (bits - 5)) & 0xF == 0xF:
            raise UnreadableEventError("a decimal property is infinite or not a number")
        if (number >> (bits - 3)) & 3 == 3:  # two bits later, and the significand begins with 100
            shift = bits - 3 - exponent_bits
            significand = (number & ((1 << shift) - 1)) | (0b100 << shift)
        else:
            shift = bits - 1 - exponent_bits
            significand = number & ((1 << shift) - 1)
        exponent = (number >> shift) & ((1 << exponent_bits) - 1)
        value = Decimal(significand).scaleb(exponent - bias, _EXACT)
        return data[width:], value.copy_negate() if sign else value

    return decode


def _described(data: memoryview) -> tuple[memoryview, Any]:
    """Return the value without its descriptor."""
    data, _ = _DECODE_BY_CONSTRUCTOR[data[0]](data[1:])
    return _PROPERTY_VALUES[data[0]](data[1:])


def _unreadable(data: memoryview) -> tuple[memoryview, Any]:
    del data
    raise UnreadableEventError("an application property is a list, a map or an array")


def _with_texts(decode: Decoder) -> Decoder:
    """Return a decoder of lists and maps that returns texts instead of bytes."""

    def decode_texts(data: memoryview) -> tuple[memoryview, Any]:
        data, value = decode(data)
        return data, _texts(value)

    return decode_texts


def _texts(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {str(_texts(name)): _texts(item) for name, item in value.items()}
    return [_texts(item) for item in value] if isinstance(value, list) else value


_PROPERTY_VALUES: list[Decoder] = list(_DECODE_BY_CONSTRUCTOR)
_PROPERTY_VALUES[0x00] = _described
_PROPERTY_VALUES[0x73] = _char
_PROPERTY_VALUES[0x83] = _timestamp
_PROPERTY_VALUES[0x74] = _decimal(4, 8, 101)
_PROPERTY_VALUES[0x84] = _decimal(8, 10, 398)
_PROPERTY_VALUES[0x94] = _decimal(16, 14, 6176)
_PROPERTY_VALUES[0xA1] = _PROPERTY_VALUES[0xA3] = _text_small
_PROPERTY_VALUES[0xB1] = _PROPERTY_VALUES[0xB3] = _text_large
for _code in _COMPOUNDS:
    _PROPERTY_VALUES[_code] = _unreadable

_ANNOTATION_VALUES = list(_PROPERTY_VALUES)
for _code in _COMPOUNDS:
    _ANNOTATION_VALUES[_code] = _with_texts(_DECODE_BY_CONSTRUCTOR[_code])
