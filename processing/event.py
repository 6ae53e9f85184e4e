"""Events, and batches of events of one partition."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Protocol

from processing.errors import EventJSONError, EventTextError, MalformedBatchError
from processing.formats.cut import LONGEST_KEY, short_key
from processing.frozen import EMPTY, FrozenDict, frozen
from processing.identity import PIPELINE, Identity, Source

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONTAINERS = frozenset({dict, list})
_MILLISECOND = timedelta(milliseconds=1)
ATTRIBUTES = frozenset(
    {
        "x-opt-sequence-number",
        "x-opt-offset",
        "x-opt-enqueued-time",
        "x-opt-partition-key",
        "SequenceNumber",
        "Offset",
        "OffsetString",
        "PartitionKey",
        "EnqueuedTimeUtc",
    }
)
"""The system properties that are attributes of `Event`."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a hub; neither the event nor its properties can be changed.

    Attributes:
        body: the payload, byte for byte; may be empty or binary.
        key: the partition key, or None; a key over `LONGEST_KEY` characters is a `short_key`.
        properties: application properties.
        source: the partition and the app that reads it.
        sequence_number: number of the event within its partition; the next event has one more.
        offset: the service's opaque position, as text; "" if the service gave none.
        enqueued_ms: time at which the hub enqueued the event, milliseconds since 1970 (UTC).
        system_properties: the message's AMQP properties and annotations by their AMQP names, such
            as `content-type`, `correlation-id`, `message-id`, `iothub-connection-device-id`.

    Example:
        >>> from breakwater import Event
        >>> from breakwater.testing import event, run
        >>> async def handle(event: Event) -> None:
        ...     print(event.key, event.json()["amount"], event.properties.get("source"))
        >>> order = event({"amount": 3}, key="alice", properties={"source": "shop"})
        >>> run(handle, [order]).handled == [order]
        alice 3 shop
        True
    """

    body: bytes
    key: str | None
    properties: Mapping[str, Any]
    source: Source
    sequence_number: int
    offset: str
    enqueued_ms: int
    system_properties: Mapping[str, Any] = field(default_factory=FrozenDict)

    @property
    def id(self) -> str:
        """The event's identity: `namespace/hub/partition/sequence number/enqueued ms`.

        The identity is the same for every consumer group and every delivery, so a handler can use
        it as an idempotency key. The time distinguishes events of a recreated hub.
        """
        return event_id(self.source, self.sequence_number, self.enqueued_ms)

    @property
    def partition(self) -> str:
        """The partition's id."""
        return self.source.partition

    @property
    def enqueued_time(self) -> datetime:
        """The time at which the hub enqueued the event, in UTC."""
        return enqueued_time(self.enqueued_ms)

    @property
    def content_type(self) -> str | None:
        """The content type of the body, as the sender named it."""
        return _optional(self.system_properties.get("content-type"))

    @property
    def correlation_id(self) -> str | None:
        """The sender's correlation id."""
        return _optional(self.system_properties.get("correlation-id"))

    @property
    def message_id(self) -> str | None:
        """The sender's message id."""
        return _optional(self.system_properties.get("message-id"))

    def text(self) -> str:
        """Decode the body as UTF-8.

        Raises:
            EventTextError: the body is not UTF-8; the error is a `UnicodeDecodeError`.
        """
        try:
            return self.body.decode()
        except UnicodeDecodeError as error:
            raise EventTextError(*error.args) from None

    def json(self) -> Any:
        """Parse the body as JSON.

        Raises:
            EventJSONError: the body is not JSON; the error is a `json.JSONDecodeError`.
            EventTextError: the body is not UTF-8; the error is a `UnicodeDecodeError`.
        """
        try:
            return json.loads(self.body)
        except UnicodeDecodeError as error:
            raise EventTextError(*error.args) from None
        except json.JSONDecodeError as error:
            raise EventJSONError(error.msg, error.doc, error.pos) from None
        except (ValueError, RecursionError) as error:  # too many digits, or nested too deep
            raise EventJSONError(f"{type(error).__name__}: {error}", "", 0) from None


def event_id(source: Source, sequence_number: int, enqueued_ms: int) -> str:
    """Return the id of the event with this place; see `Event.id`."""
    identity = source.identity
    return f"{identity.namespace}/{identity.hub}/{source.partition}/{sequence_number}/{enqueued_ms}"


def enqueued_time(milliseconds: int) -> datetime:
    """Return the time in UTC of milliseconds since 1970."""
    return _EPOCH + milliseconds * _MILLISECOND


class BoundEvent(Protocol):
    """The part of `azure.functions.EventHubEvent` that is used here."""

    def get_body(self) -> bytes: ...  # noqa: D102

    @property
    def metadata(self) -> Mapping[str, Any] | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class EventBatch:
    """A batch of events of one partition, in the order of their sequence numbers."""

    source: Source
    events: Sequence[Event]

    @classmethod
    def from_binding(cls, bound: Iterable[BoundEvent], pipeline: str = PIPELINE) -> EventBatch:
        """Translate the events of an Event Hubs trigger (cardinality many, data type BINARY).

        The metadata belongs to the whole batch and is the same on each event. Only
        `PropertiesArray` and `SystemPropertiesArray` are read: `PartitionKeyArray` and
        `OffsetArray` skip nulls, so their indexes do not match the events.

        Args:
            bound: the events.
            pipeline: the name of the app's pipeline that reads them.

        Raises:
            MalformedBatchError: the batch is empty, or its metadata does not match its events.
        """
        received = list(bound)
        if not received:
            raise MalformedBatchError("the trigger passed an empty batch")
        metadata = received[0].metadata or {}
        context = _object(metadata, "PartitionContext")
        identity = Identity(
            namespace=_text(context, "FullyQualifiedNamespace"),
            hub=_text(context, "EventHubName"),
            consumer_group=_text(context, "ConsumerGroup"),
            pipeline=pipeline,
        )
        source = Source(identity, _text(context, "PartitionId"))
        properties = _list(metadata, "PropertiesArray", len(received))
        systems = _list(metadata, "SystemPropertiesArray", len(received))
        times: dict[Any, int] = {}  # the events of one publication have the same time
        try:
            if not _are_flat(properties):
                properties = [each and frozen(each) for each in properties]
            events = [
                _event(event, props, system, source, times)
                for event, props, system in zip(received, properties, systems, strict=True)
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MalformedBatchError(
                f"the trigger's system properties are not those of an event: "
                f"{type(error).__name__}: {error}"
            ) from error
        return cls(source, events)


def _event(
    bound: BoundEvent,
    properties: dict[str, Any] | None,
    system: dict[str, Any],
    source: Source,
    times: dict[Any, int],
) -> Event:
    time = system["EnqueuedTimeUtc"]
    if (enqueued_ms := times.get(time)) is None:
        enqueued_ms = times[time] = _milliseconds(time)
    event = _new(Event)
    _set_body(event, bound.get_body())
    key = system.get("PartitionKey")
    _set_key(event, key if key is None or len(key) <= LONGEST_KEY else short_key(key))
    _set_properties(event, FrozenDict(properties) if properties else EMPTY)
    _set_source(event, source)
    _set_sequence_number(event, int(system["SequenceNumber"]))
    _set_offset(event, _offset(system))
    _set_enqueued_ms(event, enqueued_ms)
    _set_system_properties(event, _others(system))
    return event


# The slots' own setters: a frozen dataclass sets each field through `object.__setattr__`, which
# takes twice as long, and this code runs for each event.
_new = object.__new__
(
    _set_body,
    _set_key,
    _set_properties,
    _set_source,
    _set_sequence_number,
    _set_offset,
    _set_enqueued_ms,
    _set_system_properties,
) = (vars(Event)[each.name].__set__ for each in fields(Event))


def _others(system: Mapping[str, Any]) -> FrozenDict:
    """Return the system properties that are not attributes of `Event`."""
    if system.keys() <= ATTRIBUTES:
        return EMPTY
    return frozen({name: value for name, value in system.items() if name not in ATTRIBUTES})


def _are_flat(objects: Iterable[dict[str, Any] | None]) -> bool:
    """Return whether no object has a list or an object as a value, as nearly always."""
    values = chain.from_iterable(map(dict.values, filter(None, objects)))
    return _CONTAINERS.isdisjoint(map(type, values))


def _milliseconds(time: str) -> int:
    enqueued = datetime.fromisoformat(time)
    if enqueued.tzinfo is None:  # the host omits the zone; the time is always UTC
        enqueued = enqueued.replace(tzinfo=UTC)
    return (enqueued - _EPOCH) // _MILLISECOND


def _offset(system: Mapping[str, Any]) -> str:
    """Return the offset as text; `Offset` is -1 if the service's offset is not a number."""
    offset = system.get("x-opt-offset") if "OffsetString" not in system else system["OffsetString"]
    if offset is None or offset == "-1":
        offset = system.get("Offset")
    text = "" if offset is None else str(offset)
    return "" if text == "-1" else text


def _decoded(metadata: Mapping[str, Any], name: str) -> Any:
    if name not in metadata:
        raise MalformedBatchError(
            f"the trigger's metadata has no {name} (it has: {', '.join(sorted(metadata)) or '-'}); "
            "the function must be bound with cardinality many and data type BINARY"
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


def _optional(value: Any) -> str | None:
    return None if value is None else str(value)
