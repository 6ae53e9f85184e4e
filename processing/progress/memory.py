"""The in-memory progress store, for unit tests and experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from processing.identity import Source
from processing.progress.store import Mark, Progress


class MemoryProgressStore:
    """A progress store in a dictionary, lost with the process."""

    def __init__(self) -> None:
        self._known: dict[Source, Progress] = {}
        self._since: dict[Source, int] = {}

    async def open(self, source: Source) -> Progress:
        """See `ProgressStore.open`."""
        known = self._known.get(source, Progress())
        self._known[source] = replace(known, owner=known.owner + 1)
        return self._known[source]

    async def load(self, source: Source) -> Progress:
        """See `ProgressStore.load`."""
        return replace(self._known.get(source, Progress()), owner=0)

    async def commit(
        self, source: Source, owner: int, watermark: Mark | None, finished: Sequence[Mark]
    ) -> bool:
        """See `ProgressStore.commit`."""
        known = self._known.get(source, Progress())
        if owner < self._since.get(source, 0):
            return False
        highest = known.watermark
        if watermark is not None and (
            highest is None or watermark.sequence_number > highest.sequence_number
        ):
            highest = watermark
        above = dict(known.finished) | {mark.sequence_number: mark.enqueued_ms for mark in finished}
        if highest is not None:
            above = {seq: ms for seq, ms in above.items() if seq > highest.sequence_number}
        self._known[source] = Progress(highest, above, max(known.owner, owner))
        return known.owner <= owner

    async def reset(self, source: Source) -> Progress:
        """See `ProgressStore.reset`."""
        owner = self._known.get(source, Progress()).owner + 1
        self._since[source] = owner
        self._known[source] = Progress(owner=owner)
        return self._known[source]
