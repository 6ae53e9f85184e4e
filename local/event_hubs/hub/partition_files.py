"""One partition on disk: segments that hold the appended events, and what was trimmed.

A segment is a file of records. Its first record gives the position where the segment begins. Each
other record holds the events of one append, or the sequence number of the oldest kept event.
Every record is written before the publisher gets its acknowledgement, and has a checksum. Nothing
is synced: the events survive the end of the process, but not always a loss of power.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SEGMENT_BYTES = 16 << 20
"""The size after which a new segment begins; trimmed events go with their whole segment."""

_BEGIN, _EVENTS, _TRIM = b"B", b"E", b"T"
# Kind, bytes of the payload, sequence number, offset, time in ms since 1970.
_HEAD = struct.Struct(">cIqqq")
_CHECK = struct.Struct(">I")
_STATE = struct.Struct(">qq")


class DamagedFileError(ValueError):
    """A file of kept events cannot be read; the message names the file and the place."""


class Position(NamedTuple):
    """The place where the next event goes.

    Attributes:
        sequence: the sequence number of the next event.
        offset: the offset of the next event.
        last_offset: the offset of the newest event; -1 before the first event.
        enqueued_ms: the time of the newest append, in ms since 1970; 0 before the first event.
        latest_ms: the latest enqueued time so far, in ms since 1970.
    """

    sequence: int = 0
    offset: int = 0
    last_offset: int = -1
    enqueued_ms: int = 0
    latest_ms: int = 0


class Append(NamedTuple):
    """The events of one append, as they are delivered.

    Attributes:
        sequence: the sequence number of the first event.
        offset: the offset of the first event.
        enqueued_ms: the time of the append, in ms since 1970.
        deliveries: the encoded events.
    """

    sequence: int
    offset: int
    enqueued_ms: int
    deliveries: Sequence[bytes]


class _Record(NamedTuple):
    kind: bytes
    sequence: int
    offset: int
    enqueued_ms: int
    payload: bytes


class PartitionFiles:
    """The files of one partition, in a directory that is made with the first event.

    Args:
        directory: the directory of this partition alone.
    """

    def __init__(self, directory: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._segments: list[tuple[int, Path]] = []
        self._file: int | None = None
        self._size = 0
        self._begin = 0

    def load(self) -> tuple[Position, list[Append], int]:
        """Read the files; call this once, before the first append.

        Returns:
            The position where the kept events begin, the appends from there on, and the sequence
            number of the oldest event that was not trimmed.

        Raises:
            DamagedFileError: a file was changed, or one is missing.
        """
        paths = sorted(self._directory.glob("*.events"))
        start: Position | None = None
        position = Position()
        appends: list[Append] = []
        begin = 0
        for path in paths:
            records = self._read(path, is_last=path == paths[-1])
            first = _begun(next(records, None), path)
            if first is None:  # the process ended while the segment was created
                path.unlink()
                continue
            if start is None:
                start, begin = first, first.sequence
            elif first.sequence != position.sequence:
                raise _damaged(path, 0, f"the events before {first.sequence} are missing")
            position = first
            self._segments.append((first.sequence, path))
            for record in records:
                if record.kind == _TRIM:
                    begin = max(begin, record.sequence)
                else:
                    append = _append_of(record)
                    appends.append(append)
                    position = _after(position, append)
        self._begin = begin
        return start or Position(), appends, begin

    def append(self, position: Position, append: Append) -> None:
        """Write the events of an append that follows `position`.

        Raises:
            OSError: the events were not written, for example because the disk is full.
        """
        if self._file is None or self._size >= self._segment_bytes:
            self._start_segment(position)
        payload = (
            _CHECK.pack(len(append.deliveries)),
            struct.pack(f">{len(append.deliveries)}I", *map(len, append.deliveries)),
            *append.deliveries,
        )
        self._write(_EVENTS, append.sequence, append.offset, append.enqueued_ms, b"".join(payload))

    def trim(self, begin: int) -> None:
        """Note that all events before a sequence number were removed; delete whole segments.

        A note that cannot be written is left out: retention removes the events again.
        """
        if begin <= self._begin:
            return
        self._begin = begin
        while len(self._segments) > 1 and self._segments[1][0] <= begin:
            _, path = self._segments.pop(0)
            with contextlib.suppress(OSError):
                path.unlink()
        if self._file is not None or self._segments:
            with contextlib.suppress(OSError):
                self._open_last()
                self._write(_TRIM, begin, 0, 0, b"")

    def close(self) -> None:
        """Close the open file; a later append opens the file again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _start_segment(self, position: Position) -> None:
        """Open the last segment if it has room, else a new one."""
        self._open_last()
        if self._file is not None and self._size < self._segment_bytes:
            return
        self.close()
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._directory / f"{position.sequence:020}.events"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._size = 0
        try:
            self._write(
                *(_BEGIN, position.sequence, position.offset, position.enqueued_ms),
                _STATE.pack(position.last_offset, position.latest_ms),
            )
        except OSError:
            self.close()
            path.unlink(missing_ok=True)
            raise
        self._segments.append((position.sequence, path))

    def _open_last(self) -> None:
        if self._file is None and self._segments:
            self._file = os.open(self._segments[-1][1], os.O_RDWR | os.O_CLOEXEC)
            self._size = os.fstat(self._file).st_size

    def _write(self, kind: bytes, sequence: int, offset: int, time_ms: int, payload: bytes) -> None:
        """Write one record at the end of the complete records.

        After a failed write the next record takes the same place, so that no part stays between.
        """
        if self._file is None:
            raise RuntimeError("no segment is open")
        head = _HEAD.pack(kind, len(payload), sequence, offset, time_ms)
        check = _CHECK.pack(zlib.crc32(payload, zlib.crc32(head)))
        data = memoryview(b"".join((head, check, payload)))
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self._size + written)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def _read(self, path: Path, *, is_last: bool) -> Iterator[_Record]:
        """Yield the records of a segment; cut off what an ended process did not finish."""
        data = path.read_bytes()
        at = 0
        while at < len(data):
            end = at + _HEAD.size + _CHECK.size
            if end <= len(data):
                kind, size, sequence, offset, time_ms = _HEAD.unpack_from(data, at)
                payload = data[end : end + size]
                (check,) = _CHECK.unpack_from(data, at + _HEAD.size)
                head = data[at : at + _HEAD.size]
                end += size
                if end <= len(data) and check == zlib.crc32(payload, zlib.crc32(head)):
                    yield _Record(kind, sequence, offset, time_ms, payload)
                    at = end
                    continue
            # Only the last record of the last segment can be unfinished. A file system may have
            # reserved its place without its bytes.
            if not is_last or (end < len(data) and any(data[at:])):
                raise _damaged(path, at, "a checksum does not match")
            os.truncate(path, at)
            return


def _begun(record: _Record | None, path: Path) -> Position | None:
    if record is None:
        return None
    if record.kind != _BEGIN:
        raise _damaged(path, 0, "the file does not begin with its position")
    last_offset, latest_ms = _STATE.unpack(record.payload)
    return Position(record.sequence, record.offset, last_offset, record.enqueued_ms, latest_ms)


def _append_of(record: _Record) -> Append:
    payload = record.payload
    (count,) = _CHECK.unpack_from(payload)
    at = _CHECK.size * (1 + count)
    deliveries = []
    for length in struct.unpack_from(f">{count}I", payload, _CHECK.size):
        deliveries.append(payload[at : at + length])
        at += length
    return Append(record.sequence, record.offset, record.enqueued_ms, deliveries)


def _after(position: Position, append: Append) -> Position:
    end = append.offset + sum(map(len, append.deliveries))
    return Position(
        append.sequence + len(append.deliveries),
        end,
        end - len(append.deliveries[-1]) if append.deliveries else position.last_offset,
        append.enqueued_ms,
        max(position.latest_ms, append.enqueued_ms),
    )


def _damaged(path: Path, at: int, problem: str) -> DamagedFileError:
    return DamagedFileError(
        f"the kept events cannot be read: {path}, byte {at}: {problem}; restore the file, or "
        "delete the events"
    )
