"""The in-memory progress store, for unit tests and experiments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from processing.identity import Source
from processing.progress.store import MOST_MARKS, ClockStep, Mark, Progress, SentMarks


class MemoryProgressStore:
    """A progress store in a dictionary, lost with the process.

    Args:
        now_ms: returns the time in milliseconds since 1970.
    """

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._now_ms = now_ms
        self._tokens: dict[Source, int] = {}
        self.clear()

    def clear(self) -> None:
        """Lose all data, as a server does that is emptied; later tokens are still higher."""
        self._known: dict[Source, Progress] = {}
        self._reset_ms: dict[Source, int] = {}
        self._since: dict[Source, int] = {}
        self._epochs: dict[Source, int] = {}
        self._claimed: dict[Source, int] = {}
        self._sent: dict[Source, dict[str, int]] = {}

    def take(self, source: Source) -> tuple[Progress, int]:
        """Make the caller a partition's owner; return the progress and the earlier owner."""
        known = self._known.get(source, Progress())
        previous = self._claimed.get(source, 0)
        self._known[source] = replace(known, owner=self._new_owner(source))
        return replace(self._known[source], step=None), previous

    def owner(self, source: Source) -> int:
        """Return the token of the latest owner, or 0."""
        return self._known.get(source, Progress()).owner

    def epoch(self, source: Source) -> int:
        """Return the partition's epoch."""
        return self._epochs.get(source, 0)

    def since(self, source: Source) -> int:
        """Return the first token that may write: the token of the partition's last reset, or 0."""
        return self._since.get(source, 0)

    def reset_ms(self, source: Source) -> int:
        """Return the time of the partition's last reset, milliseconds since 1970, or 0."""
        return self._reset_ms.get(source, 0)

    async def load(self, source: Source) -> Progress:
        """See `ProgressStore.load`."""
        await asyncio.sleep(0)
        return replace(self._known.get(source, Progress()), owner=0)

    async def owns(self, source: Source, owner: int) -> bool:
        """See `ProgressStore.owns`."""
        await asyncio.sleep(0)
        return self.owner(source) <= owner

    async def commit(
        self,
        source: Source,
        owner: int,
        watermark: Mark | None,
        finished: Sequence[Mark],
        sent: SentMarks | None = None,
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
        if sent is not None:
            self._note_sent(source, sent)
        latest = max(known.owner, owner)
        self._known[source] = replace(known, watermark=highest, finished=above, owner=latest)
        return known.owner <= owner

    async def sent(self, source: Source, ids: Collection[str]) -> dict[str, int]:
        """See `ProgressStore.sent`."""
        await asyncio.sleep(0)
        marks = self._sent.get(source, {})
        return {each: marks[each] for each in ids if each in marks}

    async def note_created(self, source: Source, created_ms: int) -> None:
        """See `ProgressStore.note_created`."""
        await asyncio.sleep(0)
        known = self._known.get(source, Progress())
        if not known.created_ms:
            self._known[source] = replace(known, created_ms=created_ms)

    async def note_step(self, source: Source, back_ms: int, sequence_number: int) -> None:
        """See `ProgressStore.note_step`."""
        await asyncio.sleep(0)
        step = ClockStep(self._now_ms(), back_ms, sequence_number)
        self._known[source] = replace(self._known.get(source, Progress()), step=step)

    async def reset(self, source: Source, created_ms: int = 0) -> Progress:
        """See `ProgressStore.reset`."""
        step = self._known.get(source, Progress()).step
        owner = self._new_owner(source)
        self._since[source] = owner
        self._sent.pop(source, None)
        self._reset_ms[source] = self._now_ms()
        self._epochs[source] = self.epoch(source) + 1
        self._known[source] = Progress(owner=owner, created_ms=created_ms, step=step)
        return self._known[source]

    def _note_sent(self, source: Source, sent: SentMarks) -> None:
        marks = self._sent.get(source, {}) | {mark.id: mark.enqueued_ms for mark in sent.marks}
        kept = [(ms, each) for each, ms in marks.items() if ms >= sent.oldest_ms]
        self._sent[source] = {each: ms for ms, each in sorted(kept)[-MOST_MARKS:]}

    def _new_owner(self, source: Source) -> int:
        """Return a higher token than all earlier ones, and note it as the latest claim.

        A commit to an emptied server makes its writer the owner again, but is not a claim.
        """
        owner = max(self._tokens.get(source, 0), self.owner(source)) + 1
        self._tokens[source] = self._claimed[source] = owner
        return owner
