"""Events and batches for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from processing.event import Event, EventBatch
from processing.identity import Identity, Source

IDENTITY = Identity("ns.example.net", "events", "$Default")
SOURCE = Source(IDENTITY, "0")


def event(sequence_number: int, key: str | None = "k", **values: Any) -> Event:
    """Return an event whose enqueued time rises with its sequence number."""
    defaults: dict[str, Any] = {
        "body": b"{}",
        "properties": {},
        "source": SOURCE,
        "offset": str(sequence_number * 100),
        "enqueued_ms": 1_700_000_000_000 + sequence_number,
    }
    return Event(key=key, sequence_number=sequence_number, **(defaults | values))


def batch(events: Sequence[Event], source: Source = SOURCE) -> EventBatch:
    """Return a batch of one partition."""
    return EventBatch(source, events)
