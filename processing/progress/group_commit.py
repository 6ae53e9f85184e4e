"""Progress of one batch, written by group commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from processing.errors import OwnershipLostError
from processing.event import Event
from processing.progress.copies import Copies
from processing.progress.store import Mark
from processing.settings import ProgressMode


class BatchProgress:
    """The progress of one batch, written by group commit.

    Each write contains all events that finished during the previous write.

    Args:
        commit: writes a watermark, finished events and, if there are any, the marks of copies;
            retries after errors, and returns whether this instance still owns the partition.
        events: the events of the batch, in order.
        finished: the events that were finished before the batch started.
        mode: `strict`: `finish` waits until its event is committed; `relaxed`: it does not wait.
        moved: called after each write with the first unfinished event, or None.
        copies: the copies in the batch; each is finished together with its event. None: the batch
            has none, and no marks are written.
    """

    def __init__(
        self,
        commit: Callable[..., Awaitable[bool]],
        events: Sequence[Event],
        finished: Sequence[Event],
        mode: ProgressMode,
        moved: Callable[[Event | None], None] = lambda _first: None,
        *,
        copies: Copies | None = None,
    ) -> None:
        self._moved = moved
        self._copies = copies
        self._behind = {} if copies is None else dict(copies.behind)
        self._copied = 0
        self._commit = commit
        self._events = events
        self._strict = mode == "strict"
        self._done = {event.sequence_number for event in finished}
        self._next = 0  # index of the first unfinished event: the watermark is just before it
        self._pending: list[Event] = []
        self._unwritten: list[Event] = []  # the events of a failed write
        self._group: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    @property
    def copied(self) -> int:
        """Return the number of copies that were finished."""
        return self._copied

    def finish_known(self) -> None:
        """Record that the copies of events of earlier batches are finished; nobody waits."""
        if self._copies is not None and self._copies.known:
            self._pending += self._copies.known
            self._copied += len(self._copies.known)
            if self._writer is None:
                self._writer = asyncio.create_task(self._write())

    @property
    def writing(self) -> bool:
        """Return whether finished events are still being written."""
        return self._writer is not None

    async def finish(self, event: Event) -> None:
        """Record that an event is finished.

        The record survives a crash once this method returns (strict mode), or once `flush` returns
        (relaxed mode).

        Raises:
            OwnershipLostError: another instance owns the partition now; start no further event.
            StorageUnavailableError: the record could not be written.
        """
        self._pending.append(event)  # also after an error: the event is finished
        if self._behind:
            self._finish_copies(event)
        if self._group is None:
            self._group = asyncio.get_running_loop().create_future()
        group = self._group
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        if self._error is not None:
            raise self._error
        if self._strict:
            await group

    def note(self, events: Sequence[Event]) -> asyncio.Future[None]:
        """Record that events are finished, also if nobody waits for that.

        Returns:
            The end of their write, for `written`.
        """
        self._pending += events
        for event in events if self._behind else ():
            self._finish_copies(event)
        if self._group is None:
            self._group = asyncio.get_running_loop().create_future()
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        return self._group

    async def written(self, end: asyncio.Future[None]) -> None:
        """Wait until events that were noted are recorded; see `finish`."""
        if self._error is not None:
            raise self._error
        if self._strict:
            await end

    def _finish_copies(self, event: Event) -> None:
        copies = self._behind.pop(event.sequence_number, ())
        self._pending += copies
        self._copied += len(copies)

    async def flush(self) -> None:
        """Wait until all finished events are written.

        Raises:
            OwnershipLostError: another instance owns the partition now.
            StorageUnavailableError: an event could not be written.
        """
        if self._writer is not None:
            await self._writer
        if self._error is not None:
            raise self._error

    async def _write(self) -> None:
        try:
            while self._pending:
                await asyncio.sleep(0)  # other lanes finish their events and join this write
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
                    marks = None if self._copies is None else self._copies.marks_of(pending)
                    sent = () if marks is None else (marks,)
                    if not await self._commit(watermark, above, *sent):
                        self._error = self._error or OwnershipLostError(
                            "another instance owns the partition now and processes its events"
                        )
                except Exception as error:
                    self._error = self._error or error
                    self._unwritten = pending  # the next write, if any, contains these events
                else:
                    self._moved(
                        self._events[self._next] if self._next < len(self._events) else None
                    )
                self._resolve(group, self._error)
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
    def _resolve(group: asyncio.Future[None] | None, error: Exception | None) -> None:
        if group is None or group.done():
            return
        if error is None:
            group.set_result(None)
        else:
            group.set_exception(error)
            group.exception()  # in relaxed mode no task awaits it; `flush` raises the error
