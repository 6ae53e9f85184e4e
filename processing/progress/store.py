"""Progress: which events of a partition are finished, so that a redelivery skips them.

A *checkpoint* is the host's act and moves a batch at a time; *progress* is ours and moves an
event at a time: a watermark (every delivered event up to it is finished) and the finished
sequence numbers above it. Both carry the time the hub took the event: a sequence number counts
only together with it, because a hub that was deleted and made again counts from zero.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from processing.event import Event, EventBatch, Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Mark:
    """A finished event: its sequence number and when the hub took it (ms since 1970)."""

    sequence_number: int
    enqueued_ms: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of one partition: the watermark and what is finished above it.

    Attributes:
        watermark: every delivered event up to it is finished; None when none is.
        finished: those above it, enqueued_ms by sequence number.
        owner: the token of whoever opened it; a later one makes it stale. 0: only read.
    """

    watermark: Mark | None = None
    finished: Mapping[int, int] = field(default_factory=dict)
    owner: int = 0

    def finished_among(self, events: Iterable[Event]) -> list[Event]:
        """Those that were finished before."""
        below = -1 if self.watermark is None else self.watermark.sequence_number
        enqueued = self.finished.get
        return [
            event
            for event in events
            if event.sequence_number <= below
            or enqueued(event.sequence_number) == event.enqueued_ms
        ]

    def is_of_another_hub(self, events: Iterable[Event]) -> bool:
        """Whether one of the events shows that the hub was made again since this was written.

        Within one hub sequence numbers and enqueued times rise together. An event at or below the
        watermark which was enqueued after it can only come from a hub that counts anew.
        """
        watermark = self.watermark
        return watermark is not None and any(
            event.sequence_number <= watermark.sequence_number
            and event.enqueued_ms > watermark.enqueued_ms
            for event in events
        )


class ProgressStore(Protocol):
    """Where progress is kept. Each method raises `StorageUnavailableError` when it is not."""

    async def open(self, source: Source) -> Progress:
        """What is known of a partition, and a token that makes the caller its owner.

        During a rebalance the earlier owner may still have events in flight. It learns from its
        next commit that it is stale, and starts no more.
        """
        ...

    async def load(self, source: Source) -> Progress:
        """What is known of a partition, without becoming its owner; empty when nothing is."""
        ...

    async def commit(
        self, source: Source, owner: int, watermark: Mark | None, finished: Sequence[Mark]
    ) -> bool:
        """Add finished events and raise the watermark, never lower it. Repeat-safe.

        What a stale owner finished is finished all the same and is added, unless progress was
        reset since. Returns whether `owner` is still the latest.
        """
        ...

    async def reset(self, source: Source) -> Progress:
        """Forget everything about a partition and become its owner."""
        ...


async def open_for(store: ProgressStore, batch: EventBatch) -> Progress:
    """Open a partition's progress for a batch; start anew when the hub was made again."""
    progress = await store.open(batch.source)
    if progress.is_of_another_hub(batch.events):
        logger.warning(
            "Partition %s counts anew (the hub was made again): its progress up to %s is dropped",
            batch.source,
            progress.watermark,
        )
        return await store.reset(batch.source)
    return progress
