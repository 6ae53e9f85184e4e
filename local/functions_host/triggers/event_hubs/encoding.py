"""The encoding of Event Hubs events for the worker.

Field names, their order, JSON shapes and quirks are those of the Event Hubs extension 6.5.1, as
captured in tests/fixtures/real_host/batches.json. docs/local.md lists what was not captured.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, cast
from urllib.parse import urlsplit
from uuid import UUID

from local.functions_host.triggers.event_hubs.event import ENQUEUED, ReceivedEvent
from local.functions_host.triggers.event_hubs.extension import DEFAULT_EXTENSION, Extension
from local.functions_host.worker.worker import Datum

DataType = Literal["binary", "string", ""]

_PROPERTIES = (
    "message_id",
    "user_id",
    "to",
    "subject",
    "reply_to",
    "correlation_id",
    "content_type",
    "content_encoding",
    "absolute_expiry_time",
    "creation_time",
    "group_id",
    "group_sequence",
    "reply_to_group_id",
)
_PROPERTY_NAMES = tuple((name, name.replace("_", "-")) for name in _PROPERTIES)


@dataclass(frozen=True, slots=True)
class Collection:
    """The part of a protobuf collection that the worker reads: one of the lists."""

    bytes: Sequence[bytes] = ()
    string: Sequence[str] = ()
    sint64: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class PartitionContext:
    """The origin of a batch; its JSON is computed once for each partition.

    Attributes:
        namespace: the namespace's host name; the extension leaves out a port.
    """

    namespace: str
    event_hub: str
    consumer_group: str
    partition: str

    def to_json(self) -> str:
        """Return the JSON of the binding data `PartitionContext`."""
        return _dumps(
            {
                "IsCheckpointingAfterInvocation": True,
                "FullyQualifiedNamespace": urlsplit(f"//{self.namespace}").hostname or "",
                "EventHubName": self.event_hub,
                "ConsumerGroup": self.consumer_group,
                "PartitionId": self.partition,
            }
        )


class BindingError(Exception):
    """An event cannot be passed to a function; the message is the extension's reason."""


def encode_batch(
    events: Sequence[ReceivedEvent],
    data_type: DataType,
    context_json: str,
    extension: Extension = DEFAULT_EXTENSION,
) -> tuple[Datum, dict[str, Datum]]:
    """Return the trigger's data and metadata for cardinality many.

    BINARY passes every body as bytes, including empty bodies. STRING drops empty bodies; then the
    worker rejects the batch, because bodies and properties differ in number, as on Azure. Unset
    passes JSON when every body is JSON, else strings.

    Raises:
        BindingError: the body of an event is an AMQP value or sequence.
    """
    systems = [_system_properties(event, extension) for event in events]
    bodies = [_body(event) for event in events]
    metadata = {
        "SystemPropertiesArray": Datum(_dumps(systems), "json"),
        "OffsetArray": _texts([str(s["Offset"]) for s in systems if s["Offset"] is not None]),
        "PartitionContext": Datum(context_json, "json"),
        "PartitionKeyArray": _texts([key for event in events if (key := event.key) is not None]),
        "SequenceNumberArray": Datum(
            Collection(sint64=[event.sequence_number for event in events]), "collection_sint64"
        ),
        "TriggerPartitionContext": Datum(context_json, "json"),
        "PropertiesArray": Datum(_dumps([e.application_properties for e in events]), "json"),
        "EnqueuedTimeUtcArray": Datum(_dumps([s["EnqueuedTimeUtc"] for s in systems]), "json"),
    }
    if extension == "6.5.2":
        metadata["OffsetStringArray"] = _texts(
            [offset for event in events if (offset := event.offset) is not None]
        )
    return _collection(bodies, data_type), metadata


def encode_one(
    event: ReceivedEvent,
    data_type: DataType,
    context_json: str,
    extension: Extension = DEFAULT_EXTENSION,
) -> tuple[Datum, dict[str, Datum]]:
    """Return the trigger's data and metadata for cardinality one.

    Raises:
        BindingError: the body of the event is an AMQP value or sequence.
    """
    system = _system_properties(event, extension)
    body = _body(event)
    datum = (
        Datum(body, "bytes")
        if data_type == "binary"
        else Datum(body.decode("utf-8", "replace"), "string")
    )
    metadata = {
        "PartitionContext": Datum(context_json, "json"),
        "TriggerPartitionContext": Datum(context_json, "json"),
        "SequenceNumber": Datum(system["SequenceNumber"], "int"),
        "Properties": Datum(_dumps(event.application_properties), "json"),
        "SystemProperties": Datum(_dumps(system), "json"),
    }
    for name in ("EnqueuedTimeUtc", "PartitionKey", "Offset", "OffsetString"):
        if (value := system.get(name)) is not None:
            metadata[name] = Datum(str(value), "string")
    return datum, metadata


def data_type_of(binding: dict[str, Any]) -> DataType:
    """Return the binding's `dataType`, or `""` when the binding names none."""
    value = str(binding.get("dataType", "")).lower()
    return cast("DataType", value) if value in ("binary", "string") else ""


def _collection(bodies: list[bytes], data_type: DataType) -> Datum:
    if data_type == "binary":
        return Datum(Collection(bytes=bodies), "collection_bytes")
    if not data_type:
        try:
            return Datum(_dumps([json.loads(body) for body in bodies]), "json")
        except (ValueError, RecursionError):
            pass  # a body is not JSON, or is nested too deeply
    texts = [body.decode("utf-8", "replace") for body in bodies if body]
    return Datum(Collection(string=texts), "collection_string")


def _texts(values: list[str]) -> Datum:
    return Datum(Collection(string=values), "collection_string")


def _body(event: ReceivedEvent) -> bytes:
    if event.body is None:
        raise BindingError(
            "The body of this event cannot be accessed as bytes; it is an AMQP value or sequence"
        )
    return event.body


def _system_properties(event: ReceivedEvent, extension: Extension) -> dict[str, Any]:
    """Return AMQP's properties, then the annotations, then the extension's own names."""
    found: dict[str, Any] = {}
    if (properties := event.properties) is not None:
        for attribute, name in _PROPERTY_NAMES:
            value = getattr(properties, attribute)
            if value is not None:
                found[name] = value.decode("utf-8", "replace") if type(value) is bytes else value
    found.update(event.annotations)
    time = event.enqueued_time
    if time is not None:
        found[ENQUEUED] = _moment(time, "+00:00")
    offset = event.offset
    found["SequenceNumber"] = event.sequence_number
    if extension == "6.5.1":
        found["Offset"] = offset
    else:
        found["Offset"] = _number(offset)
        found["OffsetString"] = offset
    found["PartitionKey"] = event.key
    found["EnqueuedTimeUtc"] = None if time is None else _moment(time)
    return found


def _number(offset: str | None) -> int:
    """Return the offset as a number; -1 for the opaque offset of a geo-replicated namespace."""
    return int(offset) if offset is not None and offset.isascii() and offset.isdigit() else -1


@lru_cache(4096)  # the events of one publication have the same time
def _moment(time: datetime, zone: str = "") -> str:
    """Return a time in UTC as .NET's JSON has it: a fraction of a second ends without zeros."""
    text = time.replace(tzinfo=None).isoformat(timespec="microseconds")
    return text.rstrip("0").rstrip(".") + zone


def _simple(value: Any) -> str:
    """Return the text of a value for which JSON has no type.

    Raises:
        ValueError: the value is a decimal, which is a JSON number.
    """
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, datetime):
        return _moment(value, "Z")
    if isinstance(value, UUID):
        return str(value)
    raise ValueError(type(value).__name__)


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_simple).encode


def _dumps(value: Any) -> str:
    try:
        return _encode(value)
    except ValueError:  # a decimal, an infinite number or NaN
        return _slow_dumps(value)


def _slow_dumps(value: Any) -> str:
    """Return JSON as .NET writes it, with the digits of decimals and the names of numbers."""
    if isinstance(value, dict):
        return (
            "{" + ",".join(f"{_encode(n)}:{_slow_dumps(item)}" for n, item in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(_slow_dumps, value)) + "]"
    if isinstance(value, Decimal):
        digits = f"{value:f}"
        return digits if "." in digits else f"{digits}.0"
    if isinstance(value, float) and not math.isfinite(value):
        return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'
    return _encode(value)
