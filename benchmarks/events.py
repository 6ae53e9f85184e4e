"""Synthetic batches, as the trigger passes them to the app."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from processing.event import Event, EventBatch
from processing.identity import Identity, Source

HUB = "benchmark"
_FIRST_ENQUEUED_MS = 1_700_000_000_000
_sources = count()


def new_source() -> Source:
    """Return a new partition without stored progress."""
    return Source(Identity("benchmark.example.net", HUB, "$Default"), str(next(_sources)))


def batch(source: Source, first: int, events: int, keys: int) -> EventBatch:
    """Return `events` events from sequence number `first` on, with the keys in rotation."""
    return EventBatch(
        source,
        [
            Event(
                body=b'{"counter": 1}',
                key=f"key-{number % keys:04d}",
                properties={"counter": number // keys + 1},
                source=source,
                sequence_number=number,
                offset=str(number),
                enqueued_ms=_FIRST_ENQUEUED_MS + number,
            )
            for number in range(first, first + events)
        ],
    )


def batches(source: Source, events: int, *, size: int, keys: int) -> Iterator[EventBatch]:
    """Yield `events` events of a partition in batches of `size`."""
    for first in range(0, events, size):
        yield batch(source, first, min(size, events - first), keys)
