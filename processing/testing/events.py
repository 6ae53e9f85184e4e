"""`event`: an event for a test, with defaults for everything but its body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from typing import Any

from processing.event import Event
from processing.formats.cut import short_key
from processing.frozen import frozen
from processing.identity import Identity, Source

IDENTITY = Identity("test.servicebus.windows.net", "events", "$Default")
"""The app and the hub of events whose id is not given."""
START_MS = 1_767_225_600_000
"""The time at which the hub enqueued event 0: 2026-01-01, milliseconds since 1970 (UTC)."""
_ACCEPTED = (
    "bytes, text, None (empty), a pydantic model, or what json.dumps accepts: a dict, a list, a "
    "number or a bool"
)

_numbers = count()


def event(
    body: object = b"",
    *,
    key: str | None = None,
    partition: str | int | None = None,
    properties: Mapping[str, Any] | None = None,
    system_properties: Mapping[str, Any] | None = None,
    sequence_number: int | None = None,
    enqueued_ms: int | None = None,
    offset: str | None = None,
    id: str = "",  # noqa: A002 - the attribute of the event has this name
) -> Event:
    """Return an event as the handler receives it.

    >>> order = event({"total": 3}, key="ann", properties={"source": "shop"})
    >>> order.json(), order.key, order.partition
    ({'total': 3}, 'ann', '0')

    Args:
        body: bytes stay as they are; text becomes UTF-8; a pydantic model and any other value
            become JSON.
        key: the partition key. None: no key, and then the whole partition keeps its order.
        partition: the partition's id; default "0".
        properties: application properties.
        system_properties: AMQP properties, such as `content-type` and `message-id`.
        sequence_number: default one more than that of the event that was created before, so that
            events created later come later.
        enqueued_ms: milliseconds since 1970 (UTC); default rises with the sequence number.
        offset: default rises with the sequence number.
        id: a whole id as logs and `breakwater poison list` show it, instead of `partition`,
            `sequence_number` and `enqueued_ms`: namespace/hub/partition/number/milliseconds.

    Raises:
        TypeError: the body is none of these values.
        ValueError: the id has another form, or is given together with one of its parts.
    """
    identity = IDENTITY
    if id:
        if (partition, sequence_number, enqueued_ms) != (None, None, None):
            raise ValueError(
                "id names partition, sequence_number and enqueued_ms already; give the id alone"
            )
        identity, partition, sequence_number, enqueued_ms = _parts(id)
    number = next(_numbers) if sequence_number is None else sequence_number
    return Event(
        body=_payload(body),
        key=None if key is None else short_key(key),
        properties=frozen(properties or {}),
        source=Source(identity, "0" if partition is None else str(partition)),
        sequence_number=number,
        offset=str(number * 100) if offset is None else offset,
        enqueued_ms=START_MS + number if enqueued_ms is None else enqueued_ms,
        system_properties=frozen(system_properties or {}),
    )


def _payload(body: object) -> bytes:
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if isinstance(body, str):
        return body.encode()
    if body is None:
        return b""
    to_json = getattr(body, "model_dump_json", None)
    try:
        return str(to_json()).encode() if callable(to_json) else json.dumps(body).encode()
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the body is a {type(body).__qualname__} ({error}); it takes {_ACCEPTED}"
        ) from None


def _parts(text: str) -> tuple[Identity, str, int, int]:
    parts = text.split("/")
    if len(parts) != 5 or not (parts[3].isdecimal() and parts[4].isdecimal()):
        raise ValueError(
            f"the id is {text!r:.200}; it takes namespace/hub/partition/sequence number/enqueued "
            "milliseconds, as logs and `breakwater poison list` show it"
        )
    namespace, hub, partition, number, enqueued = parts
    identity = Identity(namespace, hub, IDENTITY.consumer_group)
    return identity, partition, int(number), int(enqueued)
