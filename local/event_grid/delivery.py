"""An event in a topic's record, and what became of it for each subscription."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from local.event_grid.events import GridEvent

DeliveryStatus = Literal["pending", "delivered", "dead_lettered", "cancelled"]


@dataclass
class Delivery:
    """What became of one event for one subscription."""

    subscription: str
    status: DeliveryStatus = "pending"
    attempts: int = 0
    last_result: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The public form."""
        return dict(vars(self))


@dataclass(frozen=True)
class Accepted:
    """An event in the record; `key` tells it from another one with its publisher's id."""

    event: GridEvent
    received_at: float
    deliveries: list[Delivery] = field(default_factory=list)
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def as_dict(self) -> dict[str, Any]:
        """The public form; `received_at` in ISO 8601, UTC."""
        return {
            "id": self.event.id,
            "type": self.event.type,
            "time": self.event.time,
            "data": self.event.data,
            "received_at": datetime.fromtimestamp(self.received_at, UTC).isoformat(),
            "deliveries": [delivery.as_dict() for delivery in self.deliveries],
        }
