"""Progress: which events of a partition are finished, so that a redelivery skips them.

A *checkpoint* is the host's act and moves a batch at a time; *progress* is ours and moves an
event at a time: a watermark (every delivered event up to it is finished) and the finished
sequence numbers above it. Both carry the time the hub took the event: a sequence number counts
only together with it, because a hub that was deleted and made again counts from zero.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from processing.errors import OwnershipLostError
from processing.event import Event, EventBatch, Source

logger = logging.getLogger(__name__)

type ProgressMode = Literal["strict", "relaxed"]


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


class BatchProgress:
    """Progress of one batch, written by group commit: one write takes along whatever finished
    while the write before it was under way.

    Args:
        commit: writes a watermark and finished events and returns whether this instance is still
            the partition's owner; retries are its own affair.
        events: the batch, in order.
        finished: the events that were finished before it started.
        mode: whether `finish` waits until its event is committed (`strict`) or not (`relaxed`).
    """

    def __init__(
        self,
        commit: Callable[[Mark | None, Sequence[Mark]], Awaitable[bool]],
        events: Sequence[Event],
        finished: Sequence[Event],
        mode: ProgressMode,
    ) -> None:
        self._commit = commit
        self._events = events
        self._strict = mode == "strict"
        self._done = {event.sequence_number for event in finished}
        self._next = 0  # index of the first unfinished event: the watermark is just before it
        self._pending: list[Event] = []
        self._unwritten: list[Event] = []  # what a failed write had
        self._group: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    @property
    def writing(self) -> bool:
        """Whether there are finished events that are not written yet, and may still be."""
        return self._writer is not None

    async def finish(self, event: Event) -> None:
        """Record that an event is finished; what was finished stays so across a crash once this
        returns (strict mode) or once `flush` returns (relaxed mode).

        Raises:
            OwnershipLostError: another instance owns the partition now; start no further event.
            StorageUnavailableError: it could not be written.
        """
        self._pending.append(event)  # whatever came before: it is finished
        if self._group is None:
            self._group = asyncio.get_running_loop().create_future()
        group = self._group
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        if self._error is not None:
            raise self._error
        if self._strict:
            await group

    async def flush(self) -> None:
        """Wait until everything is written.

        Raises:
            OwnershipLostError: another instance owns the partition now.
            StorageUnavailableError: it could not be written.
        """
        if self._writer is not None:
            await self._writer
        if self._error is not None:
            raise self._error

    async def _write(self) -> None:
        try:
            while self._pending:
                await asyncio.sleep(0)  # let other lanes that are ready finish their event first
                group, pending = self._group, self._unwritten + self._pending
                self._group, self._pending, self._unwritten = None, [], []
                self._done.update(event.sequence_number for event in pending)
                watermark = self._advance()
                above = [
                    Mark(event.sequence_number, event.enqueued_ms)
                    for event in pending
                    if watermark is None or event.sequence_number > watermark.sequence_number
                ]
                try:
                    if not await self._commit(watermark, above):
                        self._error = self._error or OwnershipLostError(
                            "another instance owns the partition now and goes on with it"
                        )
                except Exception as error:
                    self._error = self._error or error
                    self._unwritten = pending  # the next write, if there is one, takes them along
                self._settle(group, self._error)
        finally:
            self._writer = None

    def _advance(self) -> Mark | None:
        events, done = self._events, self._done
        while self._next < len(events) and events[self._next].sequence_number in done:
            self._next += 1
        if self._next == 0:
            return None
        last = events[self._next - 1]
        return Mark(last.sequence_number, last.enqueued_ms)

    @staticmethod
    def _settle(group: asyncio.Future[None] | None, error: Exception | None) -> None:
        if group is None or group.done():
            return
        if error is None:
            group.set_result(None)
        else:
            group.set_exception(error)
            group.exception()  # in relaxed mode nobody awaits it; flush reports the error
