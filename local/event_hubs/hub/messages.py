"""Published messages: splitting batches, and encoding events as they are delivered.

An event's sequence number, offset and enqueued time are fixed when the event is appended. The log
therefore stores the finished delivery: the publisher's sections byte for byte, with the system's
annotations before the publisher's annotations. A delivery only copies the stored bytes.
"""

from __future__ import annotations

import functools
import struct
from typing import NamedTuple

from local.event_hubs.errors import malformed
from local.event_hubs.protocol.encoding import Buffer, read_compound, read_descriptor, skip_value

BATCH_FORMAT = 0x80013700
"""Message format of a batch: each data section is one encoded message."""

_HEADER, _DELIVERY, _ANNOTATIONS, _DATA, _FOOTER = 0x70, 0x71, 0x72, 0x75, 0x78

_PARTITION_KEY = b"x-opt-partition-key"
_SYSTEM_NAMES = (b"x-opt-sequence-number", b"x-opt-offset", b"x-opt-enqueued-time")
_SEQUENCE, _OFFSET, _TIME = (bytes((0xA3, len(name))) + name for name in _SYSTEM_NAMES)
# Described, smallulong 0x72, map32, size, count, then three entries: long, timestamp, str8.
_ANNOTATED = struct.Struct(
    f">4sII{len(_SEQUENCE)}sBq{len(_TIME)}sBq{len(_OFFSET)}sBB",
)
_MAP_OVERHEAD = _ANNOTATED.size - 8  # the size field includes the count but not itself
_CACHEABLE = 512


class Published(NamedTuple):
    """One published event, ready to be appended.

    Attributes:
        header: the header section, or no bytes.
        annotations: the encoded map entries of the publisher's annotations.
        elements: the number of keys and values in `annotations`.
        rest: properties, application properties, body and footer, byte for byte.
    """

    header: bytes
    annotations: bytes
    elements: int
    rest: bytes


class Annotations(NamedTuple):
    """A publisher's message annotations.

    Attributes:
        key: the partition key, or None.
        key_entry: the encoded map entry of the partition key.
        entries: the encoded map entries that are delivered, without the system's names.
        elements: the number of keys and values in `entries`.
    """

    key: bytes | None
    key_entry: bytes
    entries: bytes
    elements: int


NO_ANNOTATIONS = Annotations(None, b"", b"", 0)


def split(message: bytes, message_format: int) -> tuple[bytes | None, list[Published]]:
    """Split a transfer into events; return the partition key (None without a key) and the events.

    The key of a batch is the envelope's key or, without an envelope key, the first key of a
    message. Messages without a key get the envelope's key.

    Raises:
        AmqpError: `amqp:decode-error`, the bytes are not an AMQP message or batch of messages.
    """
    if message_format != BATCH_FORMAT:
        event, annotations = _split_message(message)
        return annotations.key, [event]
    envelope = NO_ANNOTATIONS
    bodies: list[bytes] = []
    position, size = 0, len(message)
    while position < size:
        code, start = read_descriptor(message, position)
        position = skip_value(message, start)
        if code == _DATA:
            bodies.append(_binary(message, start, position))
        elif code == _ANNOTATIONS:
            envelope = _annotations(message[start:position])
        elif not _HEADER <= code <= _FOOTER:
            raise malformed(f"unknown section {code:#x}")
    events: list[Published] = []
    key = envelope.key
    for body in bodies:
        event, own = _split_message(body)
        if own.key is None:
            if envelope.key is not None:
                event = event._replace(
                    annotations=envelope.key_entry + event.annotations,
                    elements=event.elements + 2,
                )
        elif key is None:
            key = own.key
        events.append(event)
    return key, events


def deliverable(event: Published, sequence: int, offset: int, enqueued_ms: int) -> bytes:
    """Return the encoded delivery of an event, with the system's annotations."""
    text = b"%d" % offset
    header, entries, elements, rest = event
    return b"".join(
        (
            header,
            _ANNOTATED.pack(
                b"\x00\x53\x72\xd1",
                _MAP_OVERHEAD + len(text) + len(entries),
                elements + 6,
                *(_SEQUENCE, 0x81, sequence),
                *(_TIME, 0x83, enqueued_ms),
                *(_OFFSET, 0xA1, len(text)),
            ),
            text,
            entries,
            rest,
        )
    )


def with_delivery_annotations(delivery: bytes, section: bytes) -> bytes:
    """Insert a delivery annotations section after the header, as the standard requires."""
    if delivery[2] != _HEADER:
        return section + delivery
    end = skip_value(delivery, 3)
    return delivery[:end] + section + delivery[end:]


def _split_message(message: bytes) -> tuple[Published, Annotations]:
    header = b""
    annotations = NO_ANNOTATIONS
    rest: list[bytes] = []
    position, size = 0, len(message)
    while position < size:
        code, start = read_descriptor(message, position)
        end = skip_value(message, start)
        if 0x73 <= code <= _FOOTER:
            rest.append(message[position:end])
        elif code == _ANNOTATIONS:
            annotations = _annotations(message[start:end])
        elif code == _HEADER:
            header = message[position:end]
        elif code != _DELIVERY:
            raise malformed(f"unknown section {code:#x}")
        position = end
    return (
        Published(header, annotations.entries, annotations.elements, b"".join(rest)),
        annotations,
    )


def _annotations(value: bytes) -> Annotations:
    return _cached_annotations(value) if len(value) <= _CACHEABLE else _parse_annotations(value)


def _parse_annotations(value: bytes) -> Annotations:
    if value == b"\x40":
        return NO_ANNOTATIONS
    elements, position, end = read_compound(value, 0)
    key: bytes | None = None
    key_entry = b""
    entries: list[bytes] = []
    for _ in range(elements // 2):
        value_at = skip_value(value, position)
        next_at = skip_value(value, value_at)
        name = _text(value, position, value_at)
        if name == _PARTITION_KEY:
            key = _text(value, value_at, next_at)
            key_entry = value[position:next_at]
        if name not in _SYSTEM_NAMES:
            entries.append(value[position:next_at])
        position = next_at
    if position != end:
        raise malformed("the size of a map does not match its elements")
    return Annotations(key, key_entry, b"".join(entries), 2 * len(entries))


# Events of one batch or of one key carry the same annotations.
_cached_annotations = functools.lru_cache(maxsize=4096)(_parse_annotations)


def _text(data: Buffer, start: int, end: int) -> bytes | None:
    """Return the bytes of a string, symbol or binary; None for any other type."""
    constructor = data[start]
    if constructor in (0xA0, 0xA1, 0xA3):
        return bytes(data[start + 2 : end])
    if constructor in (0xB0, 0xB1, 0xB3):
        return bytes(data[start + 5 : end])
    return None


def _binary(data: bytes, start: int, end: int) -> bytes:
    constructor = data[start]
    if constructor == 0xA0:
        return data[start + 2 : end]
    if constructor == 0xB0:
        return data[start + 5 : end]
    raise malformed("a data section does not contain a binary value")
