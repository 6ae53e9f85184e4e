"""Receiving with Microsoft's SDK, without the objects it builds around every message.

The SDK wraps each message three times before a caller sees it; a host that goes on to encode it for
the worker needs none of the wrappings. Two of the SDK's private methods are overridden for that,
and to mend what it does after a lost link: the version is pinned, and tests notice a change.
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
    """An event as it came over AMQP.

    Attributes:
        annotations: the service's annotations, by symbol.
        application_properties: the sender's, names and texts as bytes.
        properties: AMQP's own properties section, or None.
        data, sequence, value: the body, in one of AMQP's three forms.
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
        """The event's number in its partition."""
        return int(self.annotations.get(SEQUENCE, 0))

    @property
    def offset(self) -> str | None:
        """The event's offset; what a checkpoint keeps."""
        offset = self.annotations.get(OFFSET)
        return offset.decode() if isinstance(offset, bytes) else offset

    @property
    def enqueued_time(self) -> datetime | None:
        """When the service took the event."""
        milliseconds = self.annotations.get(ENQUEUED)
        return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


class _Consumer(EventHubConsumer):
    """Hands out received events instead of EventData, and none of them twice."""

    def _next_message_in_buffer(self) -> ReceivedEvent:
        event = ReceivedEvent(self._message_buffer.popleft())
        # From here the SDK takes the offset to go on from after a reconnect.
        self._last_received_event = event  # type: ignore[assignment]
        return event

    def _create_handler(self, auth: Any) -> None:
        # A new link, perhaps after a lost one. The SDK goes on behind the last event it has handed
        # out, but keeps those that it had not handed out yet: they would come twice.
        self._message_buffer.clear()
        if self._last_received_event is not None:
            self._offset = self._last_received_event.offset
        super()._create_handler(auth)


class ConsumerClient(EventHubConsumerClient):
    """EventHubConsumerClient whose `receive_batch` callback gets ReceivedEvents."""

    def _create_consumer(self, *args: Any, **kwargs: Any) -> EventHubConsumer:
        consumer = super()._create_consumer(*args, **kwargs)
        consumer.__class__ = cast("Any", _Consumer)
        return consumer
