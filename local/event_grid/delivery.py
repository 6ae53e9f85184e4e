"""An event in a topic's record, and its delivery to each subscription."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from local.event_grid.events import GridEvent

DeliveryStatus = Literal["pending", "delivered", "dead_lettered", "cancelled"]


@dataclass
class Delivery:
    """The delivery of one event to one subscription.

    Attributes:
        subscription: name of the subscription.
        status: state of the delivery.
        attempts: number of attempts of this process.
        last_result: HTTP status or error of the last attempt; None before the first attempt.
    """

    subscription: str
    status: DeliveryStatus = "pending"
    attempts: int = 0
    last_result: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the public form."""
        return dict(vars(self))


@dataclass(frozen=True)
class Accepted:
    """An accepted event in the record.

    Attributes:
        event: the published event.
        received_at: time of acceptance, in seconds since 1970.
        deliveries: one delivery per subscription.
        key: unique key, because publishers may repeat an event id.
    """

    event: GridEvent
    received_at: float
    deliveries: list[Delivery] = field(default_factory=list)
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def as_dict(self) -> dict[str, Any]:
        """Return the public form, with `received_at` in ISO 8601, UTC."""
        return {
            "id": self.event.id,
            "type": self.event.type,
            "time": self.event.time,
            "data": self.event.data,
            "received_at": datetime.fromtimestamp(self.received_at, UTC).isoformat(),
            "deliveries": [delivery.as_dict() for delivery in self.deliveries],
        }
