"""The hub of a test: batches in the order of their partitions, until they are checkpointed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import batched, groupby
from operator import attrgetter

from processing.event import Event, EventBatch
from processing.identity import Source


class MemoryHub:
    """A hub in memory that delivers each batch until the app has finished it."""

    def __init__(self) -> None:
        self._batches: dict[Source, list[EventBatch]] = {}
        self._last: dict[Source, int] = {}
        self._known: dict[str, Event] = {}

    def append(self, events: Sequence[Event], batch_size: int | None = None) -> None:
        """Append events, each to its partition, in batches of at most `batch_size`.

        Raises:
            ValueError: an event comes after one with a higher sequence number, or has the id of
                another event, which a hub never does; or the batch size is not accepted.
        """
        if batch_size is not None and batch_size < 1:
            raise ValueError(
                f"batch_size is {batch_size}; it takes a number of at least 1, or None"
            )
        self._check(events)
        by_partition = sorted(events, key=lambda each: str(each.source))
        for source, own in groupby(by_partition, attrgetter("source")):
            batches = self._batches.setdefault(source, [])
            received = list(own)
            for batch in batched(received, batch_size or len(received)):
                batches.append(EventBatch(source, batch))

    @property
    def sources(self) -> list[Source]:
        """The partitions that have unfinished batches."""
        return [source for source, batches in self._batches.items() if batches]

    def next(self, source: Source) -> EventBatch | None:
        """Return a partition's first unfinished batch; None if all are finished."""
        batches = self._batches.get(source)
        return batches[0] if batches else None

    def checkpoint(self, source: Source) -> None:
        """Note that a partition's first unfinished batch is finished."""
        del self._batches[source][0]

    def unfinished(self) -> Iterable[Event]:
        """Yield the events of all unfinished batches."""
        for batches in self._batches.values():
            for batch in batches:
                yield from batch.events

    def _check(self, events: Sequence[Event]) -> None:
        for event in events:
            last = self._last.get(event.source, -1)
            if event.sequence_number < last and event.id not in self._known:
                raise ValueError(
                    f"event {event.id} comes after one with a higher sequence number ({last}), "
                    "which a hub never does: create the events in the order in which they come, or "
                    "give each its sequence_number"
                )
            self._last[event.source] = max(last, event.sequence_number)
            if _sent(self._known.setdefault(event.id, event)) != _sent(event):
                raise ValueError(
                    f"event {event.id} is there already with another body, key or properties, "
                    "which a hub never does: give each event its own sequence_number"
                )


def _sent(event: Event) -> tuple[object, ...]:
    """Return what the sender of an event has chosen."""
    return event.body, event.key, event.properties
