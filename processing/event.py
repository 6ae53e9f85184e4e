"""Events, and batches of events of one partition, read from the Event Hubs trigger."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from processing.errors import MalformedBatchError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a batch: one partition of a hub, read by one consumer group."""

    hub: str
    consumer_group: str
    partition: str

    def __str__(self) -> str:
        return f"{self.hub}/{self.consumer_group}/{self.partition}"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a hub.

    Attributes:
        body: the payload, byte for byte; may be empty or binary.
        key: the partition key, or None.
        properties: application properties.
        partition: partition id.
        sequence_number: number of the event within its partition; the next event has one more.
        offset: the service's opaque position.
        enqueued_ms: time at which the hub enqueued the event, milliseconds since 1970 (UTC).
    """

    body: bytes
    key: str | None
    properties: Mapping[str, Any]
    partition: str
    sequence_number: int
    offset: str
    enqueued_ms: int

    @property
    def enqueued_time(self) -> datetime:
        """The time at which the hub enqueued the event, in UTC."""
        return _EPOCH + self.enqueued_ms * _MILLISECOND

    def json(self) -> Any:
        """Parse the body as JSON.

        Raises:
            ValueError: the body is not UTF-8 or not JSON (`json.JSONDecodeError`,
                `UnicodeDecodeError`).
        """
        return json.loads(self.body)


class BoundEvent(Protocol):
    """The part of `azure.functions.EventHubEvent` that is used here."""

    def get_body(self) -> bytes: ...  # noqa: D102

    @property
    def partition_key(self) -> str | None: ...  # noqa: D102

    @property
    def sequence_number(self) -> int | None: ...  # noqa: D102

    @property
    def offset(self) -> Any: ...  # noqa: D102

    @property
    def enqueued_time(self) -> datetime | None: ...  # noqa: D102

    @property
    def metadata(self) -> Mapping[str, Any] | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class EventBatch:
    """A batch of events of one partition, in the order of their sequence numbers."""

    source: Source
    events: Sequence[Event]

    @classmethod
    def from_binding(cls, bound: Iterable[BoundEvent]) -> EventBatch:
        """Translate the events of an Event Hubs trigger (cardinality many, data type BINARY).

        The metadata belongs to the whole batch and is the same on each event. Only
        `PropertiesArray` is read: `PartitionKeyArray` and `OffsetArray` skip nulls, so their
        indexes do not match the events.

        Raises:
            MalformedBatchError: the batch is empty, or its metadata does not match its events.
        """
        received = list(bound)
        if not received:
            raise MalformedBatchError("the trigger passed an empty batch")
        metadata = received[0].metadata or {}
        context = _object(metadata, "PartitionContext")
        source = Source(
            hub=_text(context, "EventHubName"),
            consumer_group=_text(context, "ConsumerGroup"),
            partition=_text(context, "PartitionId"),
        )
        properties = _list(metadata, "PropertiesArray", len(received))
        return cls(
            source,
            [
                _event(event, props, source.partition)
                for event, props in zip(received, properties, strict=True)
            ],
        )


def _event(bound: BoundEvent, properties: Any, partition: str) -> Event:
    sequence_number, enqueued = bound.sequence_number, bound.enqueued_time
    if sequence_number is None or enqueued is None:
        raise MalformedBatchError(
            "an event has no sequence number or enqueued time; the function must be bound with "
            "cardinality many and data type BINARY"
        )
    if enqueued.tzinfo is None:  # the host sometimes omits the Z; the time is always UTC
        enqueued = enqueued.replace(tzinfo=UTC)
    return Event(
        body=bound.get_body(),
        key=bound.partition_key,
        properties=properties or {},
        partition=partition,
        sequence_number=sequence_number,
        offset=str(bound.offset),
        enqueued_ms=(enqueued - _EPOCH) // _MILLISECOND,
    )


def _decoded(metadata: Mapping[str, Any], name: str) -> Any:
    if name not in metadata:
        raise MalformedBatchError(
            f"the trigger's metadata has no {name} (it has: {', '.join(sorted(metadata)) or '-'}); "
            "the function must be bound with cardinality many"
        )
    value = metadata[name]
    return json.loads(value) if isinstance(value, str | bytes) else value


def _object(metadata: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = _decoded(metadata, name)
    if not isinstance(value, Mapping):
        raise MalformedBatchError(f"the trigger's {name} is not a JSON object: {value!r:.100}")
    return value


def _list(metadata: Mapping[str, Any], name: str, length: int) -> Sequence[Any]:
    value = _decoded(metadata, name)
    if not isinstance(value, list) or len(value) != length:
        raise MalformedBatchError(
            f"the trigger's {name} is not a list with one entry for each of the {length} events"
        )
    return value


def _text(context: Mapping[str, Any], name: str) -> str:
    value = context.get(name)
    if not isinstance(value, str) or not value:
        raise MalformedBatchError(
            f"the trigger's PartitionContext has no {name}: it is {value!r:.100}"
        )
    return value
