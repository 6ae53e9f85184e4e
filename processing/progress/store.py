"""Progress: the finished events of a partition, so that a redelivery skips them.

The host writes a *checkpoint* after a whole batch. The app writes *progress* after each event: a
watermark (every delivered event up to the watermark is finished), and the finished sequence numbers
above the watermark. Each sequence number is stored with the event's enqueued time, because a
recreated hub counts from zero.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from processing.event import Event
from processing.identity import Source

MOST_MARKS = 100_000
"""Most marks of one partition for copies of its events; they take about 10 MB of Redis."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A finished event: its sequence number and its enqueued time (ms since 1970)."""

    sequence_number: int
    enqueued_ms: int


@dataclass(frozen=True, slots=True)
class SentMark:
    """The mark of a finished event by which a copy of the event is recognised.

    Attributes:
        id: text of the producer's id, without blanks and colons; see `CopyFinder.ids_of`.
        enqueued_ms: the event's enqueued time, milliseconds since 1970.
    """

    id: str
    enqueued_ms: int


@dataclass(frozen=True, slots=True)
class SentMarks:
    """The marks of one commit.

    Attributes:
        marks: the marks.
        window_ms: milliseconds of enqueued time for which a mark is kept.
    """

    marks: Sequence[SentMark]
    window_ms: int

    @property
    def oldest_ms(self) -> int:
        """The lowest enqueued time of a mark that is kept, milliseconds since 1970."""
        return max(mark.enqueued_ms for mark in self.marks) - self.window_ms


@dataclass(frozen=True, slots=True)
class ClockStep:
    """A step back of the broker's clock, as a batch has shown it.

    Attributes:
        seen_ms: time at which the step was noticed, milliseconds since 1970 by the store's clock.
        back_ms: size of the step in milliseconds.
        sequence_number: number of the first event behind the step.
    """

    seen_ms: int
    back_ms: int
    sequence_number: int


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of one partition.

    Attributes:
        watermark: every delivered event up to here is finished; None: no event is finished.
        finished: the finished events above the watermark, enqueued_ms by sequence number.
        owner: token of the claim that read the progress; a later token makes this token stale. 0:
            the progress was only read.
        created_ms: time at which the hub was created that the progress belongs to, milliseconds
            since 1970; 0: not known.
        step: the latest step back of the broker's clock; None: none is known. A claim does not read
            it.
    """

    watermark: Mark | None = None
    finished: Mapping[int, int] = field(default_factory=dict)
    owner: int = 0
    created_ms: int = 0
    step: ClockStep | None = None

    def finished_among(self, events: Iterable[Event]) -> list[Event]:
        """Return the events that are finished."""
        below = -1 if self.watermark is None else self.watermark.sequence_number
        enqueued = self.finished.get
        return [
            event
            for event in events
            if event.sequence_number <= below
            or enqueued(event.sequence_number) == event.enqueued_ms
        ]


class ProgressStore(Protocol):
    """A store of progress. Each method raises `StorageUnavailableError` if the store fails."""

    async def load(self, source: Source) -> Progress:
        """Return a partition's progress without becoming its owner; empty if none is stored."""
        ...

    async def owns(self, source: Source, owner: int) -> bool:
        """Return whether `owner` is the latest owner, or no owner is known."""
        ...

    async def commit(
        self,
        source: Source,
        owner: int,
        watermark: Mark | None,
        finished: Sequence[Mark],
        sent: SentMarks | None = None,
    ) -> bool:
        """Add finished events and raise the watermark; the watermark is never lowered.

        A repeat changes nothing. Events of a stale owner are finished, too, so they are added
        unless the progress was reset since. The marks of `sent` are stored in the same step; the
        marks that left the window, and the oldest above `MOST_MARKS`, are deleted.

        Returns:
            Whether `owner` is still the latest owner.
        """
        ...

    async def sent(self, source: Source, ids: Collection[str]) -> dict[str, int]:
        """Return the enqueued times of marks by id, milliseconds since 1970.

        A reset deletes all marks.
        """
        ...

    async def note_created(self, source: Source, created_ms: int) -> None:
        """Store the time at which the partition's hub was created, unless a time is stored.

        Args:
            source: the partition.
            created_ms: the hub's time of creation, milliseconds since 1970.
        """
        ...

    async def note_step(self, source: Source, back_ms: int, sequence_number: int) -> None:
        """Store a step back of the broker's clock instead of an earlier one.

        Args:
            source: the partition in which the step was noticed.
            back_ms: size of the step in milliseconds.
            sequence_number: number of the first event behind the step.
        """
        ...

    async def reset(self, source: Source, created_ms: int = 0) -> Progress:
        """Delete a partition's progress, make the caller its owner, and raise the epoch.

        Args:
            source: the partition.
            created_ms: the hub's time of creation, which replaces the stored time; 0: not known,
                so that the next batch stores the time.
        """
        ...
