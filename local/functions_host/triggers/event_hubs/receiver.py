"""Receiving with Microsoft's SDK, without the objects that the SDK builds for every message.

The SDK wraps each message in three objects; the host encodes the message for the worker and needs
none of them. This module overrides two private methods of the SDK to avoid the objects and to fix
a duplicate delivery after a lost link. The version is pinned, and tests detect a change.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from azure.eventhub.aio import EventHubConsumerClient
from azure.eventhub.aio._consumer_async import EventHubConsumer

SEQUENCE = b"x-opt-sequence-number"
OFFSET = b"x-opt-offset"
ENQUEUED = b"x-opt-enqueued-time"
KEY = b"x-opt-partition-key"


class ReceivedEvent:
    """An event as received over AMQP.

    Attributes:
        annotations: the service's annotations, by symbol.
        application_properties: the sender's properties, with names and texts as bytes.
        properties: AMQP's own properties section, or None.
        data, sequence, value: the body in one of AMQP's three forms; the others are None.
    """

    __slots__ = ("annotations", "application_properties", "data", "properties", "sequence", "value")

    def __init__(self, message: Any) -> None:
        self.annotations: dict[bytes, Any] = message.message_annotations or {}
        self.application_properties: dict[Any, Any] = message.application_properties or {}
        self.properties: Any = message.properties
        self.data: list[bytes] | None = message.data
        self.sequence: list[Any] | None = message.sequence
        self.value: Any = message.value

    @property
    def sequence_number(self) -> int:
        """The event's sequence number in its partition."""
        return int(self.annotations.get(SEQUENCE, 0))

    @property
    def offset(self) -> str | None:
        """The event's offset, which a checkpoint stores."""
        offset = self.annotations.get(OFFSET)
        return offset.decode() if isinstance(offset, bytes) else offset

    @property
    def enqueued_time(self) -> datetime | None:
        """The time at which the service accepted the event."""
        milliseconds = self.annotations.get(ENQUEUED)
        return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


class _Consumer(EventHubConsumer):
    """A consumer that returns each event once, as ReceivedEvent instead of EventData."""

    def _next_message_in_buffer(self) -> ReceivedEvent:
        event = ReceivedEvent(self._message_buffer.popleft())
        # After a reconnect the SDK continues from the offset of this event.
        self._last_received_event = event  # type: ignore[assignment]
        return event

    def _create_handler(self, auth: Any) -> None:
        # Called for each new link, also after a lost link. The SDK continues after the last event
        # that it returned, but keeps fetched events, which would come twice.
        self._message_buffer.clear()
        if self._last_received_event is not None:
            self._offset = self._last_received_event.offset
        super()._create_handler(auth)


class ConsumerClient(EventHubConsumerClient):
    """An EventHubConsumerClient whose `receive_batch` callback gets ReceivedEvents."""

    def _create_consumer(self, *args: Any, **kwargs: Any) -> EventHubConsumer:
        consumer = super()._create_consumer(*args, **kwargs)
        consumer.__class__ = cast("Any", _Consumer)
        return consumer
