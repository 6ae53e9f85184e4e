"""The encoding of Event Hubs events for the worker.

Field names, JSON shapes and quirks are those of the Event Hubs extension, with one deliberate
difference: enqueued times end with `+00:00`. The extension writes times without a zone, which is
ambiguous and makes the worker library try thirteen formats for each event.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, cast
from uuid import UUID

from local.functions_host.triggers.event_hubs.receiver import (
    ENQUEUED,
    KEY,
    OFFSET,
    SEQUENCE,
    ReceivedEvent,
)
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
    """The origin of a batch; its JSON is computed once for each partition."""

    namespace: str
    event_hub: str
    consumer_group: str
    partition: str

    def to_json(self) -> str:
        """Return the JSON of the binding data `PartitionContext`."""
        return json.dumps(
            {
                "FullyQualifiedNamespace": self.namespace,
                "EventHubName": self.event_hub,
                "ConsumerGroup": self.consumer_group,
                "PartitionId": self.partition,
            }
        )


def encode_batch(
    events: Sequence[ReceivedEvent], data_type: DataType, context_json: str
) -> tuple[Datum, dict[str, Datum]]:
    """Return the trigger's data and metadata for cardinality many.

    BINARY passes every body as bytes, including empty bodies. STRING drops empty bodies; then the
    worker rejects the batch, because bodies and properties differ in number, as on Azure. Unset
    passes JSON when every body is JSON, else strings.
    """
    systems = [_system_properties(event) for event in events]
    bodies = [_body(event) for event in events]
    metadata = {
        "PartitionContext": Datum(context_json, "json"),
        "TriggerPartitionContext": Datum(context_json, "json"),
        "PartitionKeyArray": Datum(
            Collection(
                string=[s["PartitionKey"] for s in systems if s["PartitionKey"] is not None]
            ),
            "collection_string",
        ),
        "OffsetArray": Datum(
            Collection(
                string=[s["OffsetString"] for s in systems if s["OffsetString"] is not None]
            ),
            "collection_string",
        ),
        "SequenceNumberArray": Datum(
            Collection(sint64=[s["SequenceNumber"] for s in systems]), "collection_sint64"
        ),
        "EnqueuedTimeUtcArray": Datum(_dumps([s["EnqueuedTimeUtc"] for s in systems]), "json"),
        "PropertiesArray": Datum(_dumps([_application_properties(e) for e in events]), "json"),
        "SystemPropertiesArray": Datum(_dumps(systems), "json"),
    }
    return _collection(bodies, data_type), metadata


def encode_one(
    event: ReceivedEvent, data_type: DataType, context_json: str
) -> tuple[Datum, dict[str, Datum]]:
    """Return the trigger's data and metadata for cardinality one."""
    system = _system_properties(event)
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
        "Properties": Datum(_dumps(_application_properties(event)), "json"),
        "SystemProperties": Datum(_dumps(system), "json"),
    }
    for name, source in (
        ("EnqueuedTimeUtc", "EnqueuedTimeUtc"),
        ("PartitionKey", "PartitionKey"),
        ("Offset", "OffsetString"),
    ):
        if (value := system[source]) is not None:
            metadata[name] = Datum(value, "string")
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


def _body(event: ReceivedEvent) -> bytes:
    """Return the body's bytes; AMQP bodies of other types (from other senders) become JSON."""
    if (sections := event.data) is not None:
        return sections[0] if len(sections) == 1 else b"".join(sections)
    if event.sequence is not None:
        return _dumps(_plain(event.sequence)).encode()
    value = event.value
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else _dumps(_plain(value)).encode()


def _system_properties(event: ReceivedEvent) -> dict[str, Any]:
    annotations = event.annotations
    sequence = annotations.get(SEQUENCE, 0)
    offset = _text(annotations.get(OFFSET))
    enqueued = annotations.get(ENQUEUED)
    time = None if enqueued is None else _time(enqueued)
    key = _text(annotations.get(KEY))
    found: dict[str, Any] = {
        "x-opt-sequence-number": sequence,
        "x-opt-offset": offset,
        "x-opt-enqueued-time": time,
        "SequenceNumber": sequence,
        "Offset": int(offset) if offset is not None and offset.isdigit() else -1,
        "OffsetString": offset,
        "PartitionKey": key,
        "EnqueuedTimeUtc": time,
    }
    if key is not None:
        found["x-opt-partition-key"] = key
    if len(annotations) > 4:
        for symbol, value in annotations.items():
            found.setdefault(_text(symbol) or "", _plain(value))
    if (properties := event.properties) is not None:
        for attribute, name in _PROPERTY_NAMES:
            value = getattr(properties, attribute)
            if value is not None:
                found[name] = _plain(value)
    return found


def _application_properties(event: ReceivedEvent) -> dict[str, Any]:
    return {
        _text(name) or "": value.decode("utf-8", "replace")
        if isinstance(value, bytes)
        else _plain(value)
        for name, value in event.application_properties.items()
    }


@lru_cache(4096)  # the events of one publication have the same time
def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return None if value is None else str(value)


def _plain(value: Any) -> Any:
    """Convert AMQP values that JSON does not support to the closest JSON value."""
    if isinstance(value, str | int | float) or value is None:
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, dict):
        return {str(_plain(name)): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


_dumps = json.JSONEncoder(separators=(",", ":"), default=str).encode
