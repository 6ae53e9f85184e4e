"""An event as received over AMQP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

SEQUENCE = "x-opt-sequence-number"
OFFSET = "x-opt-offset"
ENQUEUED = "x-opt-enqueued-time"
KEY = "x-opt-partition-key"


@dataclass(slots=True)
class ReceivedEvent:
    """An event as received over AMQP, with Python values that keep their AMQP types apart.

    Attributes:
        body: the bytes of the data sections; None for an AMQP value or sequence body, which the
            Event Hubs extension cannot bind.
        annotations: the annotations of the service and of the sender, in the order of the message.
        application_properties: the sender's properties.
        properties: AMQP's own properties section as the SDK decodes it, or None.
    """

    body: bytes | None = b""
    annotations: Mapping[str, Any] = field(default_factory=dict)
    application_properties: Mapping[str, Any] = field(default_factory=dict)
    properties: Any = None

    @property
    def sequence_number(self) -> int:
        """The event's sequence number in its partition."""
        return int(self.annotations.get(SEQUENCE, 0))

    @property
    def offset(self) -> str | None:
        """The event's offset, which a checkpoint stores."""
        offset = self.annotations.get(OFFSET)
        return None if offset is None else str(offset)

    @property
    def enqueued_time(self) -> datetime | None:
        """The time at which the service accepted the event."""
        time = self.annotations.get(ENQUEUED)
        return time if isinstance(time, datetime) else None

    @property
    def key(self) -> str | None:
        """The partition key, or None."""
        key = self.annotations.get(KEY)
        return None if key is None else str(key)
