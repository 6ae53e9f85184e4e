"""Receiving with Microsoft's SDK, without the objects that the SDK builds for every message.

The SDK wraps each message in three objects; the host encodes the message for the worker and needs
none of them. This module overrides private methods of the SDK to avoid the objects, to decode
messages with their AMQP types, and to fix a duplicate delivery after a lost link. The version is
pinned, and tests detect a change.
"""

from __future__ import annotations

from typing import Any, cast

from azure.eventhub._pyamqp.aio import ReceiveClientAsync
from azure.eventhub._pyamqp.aio._receiver_async import ReceiverLink
from azure.eventhub.aio import EventHubConsumerClient
from azure.eventhub.aio._consumer_async import EventHubConsumer

from local.functions_host.triggers.event_hubs.decoding import decode_event
from local.functions_host.triggers.event_hubs.event import ReceivedEvent

_MORE, _PAYLOAD = 5, 11  # fields of a transfer frame


class _Link(ReceiverLink):
    """A link that decodes each message to a ReceivedEvent."""

    _complete: memoryview | bytearray = memoryview(b"")

    async def _incoming_transfer(self, frame: list[Any]) -> None:
        if not frame[_MORE]:
            # The SDK gets an empty payload, so that only `decode_event` decodes the message.
            self._complete = frame[_PAYLOAD]
            if self._received_payload:
                self._received_payload.extend(frame[_PAYLOAD])
                self._complete = self._received_payload
                self._received_payload = bytearray()
            frame = [*frame[:_PAYLOAD], memoryview(b"")]
        await super()._incoming_transfer(frame)  # type: ignore[no-untyped-call]

    async def _process_incoming_message(self, frame: Any, message: Any) -> Any:
        del message
        event = decode_event(memoryview(self._complete))
        return await super()._process_incoming_message(frame, event)  # type: ignore[no-untyped-call]


class _ReceiveClient(ReceiveClientAsync):
    """A client whose link is a `_Link`."""

    async def _client_ready_async(self) -> bool:
        ready = await super()._client_ready_async()  # type: ignore[no-untyped-call]
        # The link is new and attached at most; its first transfer comes after a grant of credit.
        self._link.__class__ = _Link
        return bool(ready)


class _Consumer(EventHubConsumer):
    """A consumer that returns each event once, as ReceivedEvent instead of EventData."""

    def _next_message_in_buffer(self) -> ReceivedEvent:
        event = cast("ReceivedEvent", self._message_buffer.popleft())
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
        self._handler.__class__ = cast("Any", _ReceiveClient)


class ConsumerClient(EventHubConsumerClient):
    """An EventHubConsumerClient whose `receive_batch` callback gets ReceivedEvents."""

    def _create_consumer(self, *args: Any, **kwargs: Any) -> EventHubConsumer:
        consumer = super()._create_consumer(*args, **kwargs)
        consumer.__class__ = cast("Any", _Consumer)
        return consumer
