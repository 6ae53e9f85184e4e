"""Copies: events that their producer has sent again, found by a property of the event.

An event is a copy of an earlier event of its partition if both have the same key and the same value
of the named property, and if the hub enqueued both within the window. A copy is finished without a
call, together with the earlier event. The store keeps one mark for each finished event; the mark is
written in the same commit as the event's progress. So no copy is skipped before the earlier event
is handled, or durably poisoned, deferred or parked.

docs/adr/0049-copies-of-a-producer.md gives the reasons.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from processing.event import Event
from processing.progress.store import SentMark, SentMarks

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Copies:
    """The copies in one batch.

    Attributes:
        known: copies of events that earlier batches have finished.
        behind: copies of an event of this batch, by the event's sequence number.
        ids: the producer's ids of the batch's other events, by sequence number.
        window_ms: time for which the mark of an event counts, in milliseconds.
    """

    known: Sequence[Event] = ()
    behind: Mapping[int, Sequence[Event]] = field(default_factory=dict)
    ids: Mapping[int, str] = field(default_factory=dict)
    window_ms: int = 0

    def without(self, events: Sequence[Event]) -> list[Event]:
        """Return the events that are no copies, in their order."""
        copies = {event.sequence_number for event in self.known}
        copies.update(each.sequence_number for behind in self.behind.values() for each in behind)
        return [event for event in events if event.sequence_number not in copies]

    def marks_of(self, events: Iterable[Event]) -> SentMarks | None:
        """Return the marks of finished events; None if no event has an id of its producer."""
        ids = self.ids
        marks = [
            SentMark(ids[event.sequence_number], event.enqueued_ms)
            for event in events
            if event.sequence_number in ids
        ]
        return SentMarks(marks, self.window_ms) if marks else None


class CopyFinder:
    """The rule that says which events are copies.

    Args:
        name: name of the property in which the producer puts the id of an event.
        window_seconds: time within which the hub has enqueued an event and its copy.
    """

    def __init__(self, name: str, window_seconds: float) -> None:
        self._name = name
        self._window_ms = round(window_seconds * 1000)

    def ids_of(self, events: Iterable[Event]) -> dict[int, str]:
        """Return the producer's ids of the events that have one, by sequence number."""
        found = ((event.sequence_number, self._id_of(event)) for event in events)
        return {number: sent for number, sent in found if sent is not None}

    def find(
        self, events: Sequence[Event], ids: Mapping[int, str], finished: Mapping[str, int]
    ) -> Copies:
        """Return the copies among the unfinished events of a batch.

        Args:
            events: the unfinished events, in order.
            ids: their ids; see `ids_of`.
            finished: the enqueued time of finished events by id, milliseconds since 1970.
        """
        known: list[Event] = []
        behind: dict[int, list[Event]] = {}
        first: dict[str, Event] = {}
        others: dict[int, str] = {}
        for event in events:
            sent = ids.get(event.sequence_number)
            if sent is None:
                continue
            before, earlier = finished.get(sent), first.get(sent)
            if before is not None and self._is_near(before, event):
                known.append(event)
            elif earlier is not None and self._is_near(earlier.enqueued_ms, event):
                behind.setdefault(earlier.sequence_number, []).append(event)
            else:
                first[sent] = event
                others[event.sequence_number] = sent
        return Copies(known, behind, others, self._window_ms)

    def _is_near(self, enqueued_ms: int, event: Event) -> bool:
        # The broker's clock can step back.
        return abs(event.enqueued_ms - enqueued_ms) <= self._window_ms

    def _id_of(self, event: Event) -> str | None:
        """Return the digest of the event's key and of the property; None without a usable value."""
        value = event.properties.get(self._name)
        if value == "" or type(value) not in _VALUES:
            return None
        text = json.dumps([event.key, type(value).__name__, value])
        digest = blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()
        return b64encode(digest).decode().rstrip("=")


_VALUES: Collection[type] = frozenset({str, int, float})
"""The types of values that identify an event; the empty text does not."""
