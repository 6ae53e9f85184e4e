"""The log of one partition: append-only, trimmed at the oldest end, in memory and on disk."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate

from local.event_hubs.hub.messages import Published, deliverable
from local.event_hubs.hub.partition_files import Append, PartitionFiles, Position

_COMPACT_AT = 4096


class PartitionLog:
    """Events in order of arrival, with increasing sequence numbers and offsets.

    The offset is the position in bytes in the log, as in the service. Sequence number and offset
    start at 0 in a new partition. Sequence numbers and offsets never decrease; enqueued times do if
    the clock was set back.

    Args:
        partition: the number of the partition.
        files: the files that hold the log while no process runs; None keeps the log in memory only.

    Raises:
        DamagedFileError: a file cannot be read.
    """

    def __init__(self, partition: int, files: PartitionFiles | None = None) -> None:
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
        self._latest_ms = 0
        self._bytes = 0
        self._files = files
        if files is not None:
            self._restore(files)

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
        """Append events and wake the receivers; return the sequence numbers of the events.

        Raises:
            OSError: the files could not be written; nothing was appended.
        """
        start = self.last_sequence + 1
        offset = self._end_offset
        deliveries: list[bytes] = []
        for sequence, event in enumerate(events, start):
            delivery = deliverable(event, sequence, offset, now_ms)
            deliveries.append(delivery)
            offset += len(delivery)
        append = Append(start, self._end_offset, now_ms, deliveries)
        if self._files is not None and deliveries:
            self._files.append(self._position(), append)
        self._add(append)
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
        self._trim(count)
        if self._files is not None:
            self._files.trim(self.begin_sequence)

    def close(self) -> None:
        """Close the files."""
        if self._files is not None:
            self._files.close()

    def _position(self) -> Position:
        """Return the place of the next event."""
        return Position(
            self.last_sequence + 1,
            self._end_offset,
            self._last_offset,
            self._last_time,
            self._latest_ms,
        )

    def _restore(self, files: PartitionFiles) -> None:
        position, appends, begin = files.load()
        self._first, self._end_offset, self._last_offset = position[:3]
        self._last_time, self._latest_ms = position[3:]
        for append in appends:
            self._add(append)
        self._trim(begin - self.begin_sequence)

    def _add(self, append: Append) -> None:
        self._last_time = append.enqueued_ms
        self._latest_ms = max(append.enqueued_ms, self._latest_ms)
        offsets = array("q", accumulate(map(len, append.deliveries), initial=append.offset))
        end = offsets.pop()
        self._deliveries += append.deliveries
        self._offsets += offsets
        self._latest += array("q", (self._latest_ms,)) * len(offsets)
        if offsets:
            self._last_offset = offsets[-1]
        self._bytes += end - self._end_offset
        self._end_offset = end

    def _trim(self, count: int) -> None:
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
