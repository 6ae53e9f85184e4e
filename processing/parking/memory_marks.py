"""The in-memory store of marks, for unit tests and experiments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from processing.identity import Source
from processing.parking.marks import MarkConflictError, ParkingMark, StoredMark, parse


@dataclass(slots=True)
class MemoryMarkStore:
    """A store of marks in a dictionary, lost with the process.

    Each method first lets other tasks run, as a network round trip would.

    Attributes:
        contents: content, ETag and time of the write by partition.
        dropped: records of dropped marks, by partition and name.
        reads, writes: number of calls of `read` and `write`.
    """

    clock: Callable[[], float] = time.time
    contents: dict[Source, tuple[bytes, str, float]] = field(default_factory=dict)
    dropped: dict[tuple[Source, str], str] = field(default_factory=dict)
    reads: int = 0
    writes: int = 0
    _etags: count[int] = field(default_factory=lambda: count(1))

    async def read(self, source: Source) -> StoredMark | None:
        """See `MarkStore.read`."""
        await asyncio.sleep(0)
        self.reads += 1
        if (found := self.contents.get(source)) is None:
            return None
        data, etag, written_at = found
        return parse(data, source, place="memory", etag=etag, written_at=written_at)

    async def write(self, mark: ParkingMark, etag: str | None) -> StoredMark:
        """See `MarkStore.write`."""
        await asyncio.sleep(0)
        self.writes += 1
        self._check(mark.source, etag)
        new = str(next(self._etags))
        self.contents[mark.source] = (mark.to_json().encode(), new, self.clock())
        return StoredMark(mark, new)

    async def delete(self, source: Source, etag: str) -> None:
        """See `MarkStore.delete`."""
        await asyncio.sleep(0)
        if source in self.contents:
            self._check(source, etag)
            del self.contents[source]

    async def record_drop(self, source: Source, name: str, record: str) -> None:
        """See `MarkStore.record_drop`."""
        await asyncio.sleep(0)
        self.dropped[source, name] = record

    def _check(self, source: Source, etag: str | None) -> None:
        found = self.contents.get(source)
        if (None if found is None else found[1]) != etag:
            raise MarkConflictError(f"the mark of partition {source} has changed")
