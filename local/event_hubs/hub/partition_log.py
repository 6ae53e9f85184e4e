"""The log of one partition: in memory, append-only, trimmed at the oldest end."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence

from local.event_hubs.hub.messages import Published, deliverable

_COMPACT_AT = 4096


class PartitionLog:
    """Events in order of arrival, with increasing sequence numbers and offsets.

    The offset is the position in bytes in the log, as in the service. Sequence number and offset
    start at 0 in a new partition. Sequence numbers and offsets never decrease; enqueued times do if
    the clock was set back.
    """

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.listeners: dict[object, Callable[[], None]] = {}
        # Parallel columns. Trimmed events keep their entries, without bytes, until `_compact`.
        self._deliveries: list[bytes] = []
        self._offsets = array("q")
        self._latest = array("q")  # the latest enqueued time so far, which never decreases
        self._trimmed = 0
        self._first = 0
        self._end_offset = 0
        self._last_offset = -1
        self._last_time = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._deliveries) - self._trimmed

    @property
    def begin_sequence(self) -> int:
        """The sequence number of the oldest kept event, or of the next event if none is kept."""
        return self._first + self._trimmed

    @property
    def last_sequence(self) -> int:
        """The sequence number of the newest event ever appended; -1 before the first event."""
        return self._first + len(self._deliveries) - 1

    @property
    def last_offset(self) -> int:
        """The offset of the newest event ever appended; -1 before the first event."""
        return self._last_offset

    @property
    def last_enqueued_ms(self) -> int:
        """The time of the newest append, in ms since 1970; 0 before the first event."""
        return self._last_time

    @property
    def oldest_enqueued_ms(self) -> int | None:
        """The time by which the oldest kept event had been appended; None in an empty log.

        In ms since 1970, and later than the event's enqueued time if the clock was set back before.
        """
        return self._latest[self._trimmed] if len(self) else None

    @property
    def size_bytes(self) -> int:
        """The number of encoded bytes of the kept events."""
        return self._bytes

    def append(self, events: Sequence[Published], now_ms: int) -> range:
        """Append events and wake the receivers; return the sequence numbers of the events."""
        start = self.last_sequence + 1
        self._last_time = now_ms
        latest_ms = max(now_ms, self._latest[-1]) if self._latest else now_ms
        offset = self._end_offset
        for sequence, event in enumerate(events, start):
            delivery = deliverable(event, sequence, offset, now_ms)
            self._deliveries.append(delivery)
            self._offsets.append(offset)
            self._latest.append(latest_ms)
            self._last_offset = offset
            offset += len(delivery)
        self._bytes += offset - self._end_offset
        self._end_offset = offset
        for wake in list(self.listeners.values()):
            wake()
        return range(start, start + len(events))

    def read(self, sequence: int, limit: int) -> list[bytes]:
        """Return up to `limit` encoded events that begin at `sequence`.

        Raises:
            LookupError: the event has been trimmed.
        """
        index = sequence - self._first
        if index < self._trimmed:
            raise LookupError(f"sequence number {sequence} has been trimmed")
        return self._deliveries[index : index + limit]

    def sequence_at_offset(self, offset: int) -> int:
        """Return the sequence number of the first event at or after an offset."""
        return self._first + bisect_left(self._offsets, offset, lo=self._trimmed)

    def sequence_at_time(self, enqueued_ms: int) -> int:
        """Return the sequence number of the first event appended at or after a time."""
        return self._first + bisect_left(self._latest, enqueued_ms, lo=self._trimmed)

    def trim(self, count: int) -> None:
        """Remove the `count` oldest events."""
        stop = self._trimmed + min(count, len(self))
        self._bytes -= sum(map(len, self._deliveries[self._trimmed : stop]))
        self._deliveries[self._trimmed : stop] = [b""] * (stop - self._trimmed)
        self._trimmed = stop
        if stop >= _COMPACT_AT and stop * 2 >= len(self._deliveries):
            self._compact()

    def _compact(self) -> None:
        del self._deliveries[: self._trimmed]
        del self._offsets[: self._trimmed]
        del self._latest[: self._trimmed]
        self._first += self._trimmed
        self._trimmed = 0
