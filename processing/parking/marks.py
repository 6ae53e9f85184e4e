"""Marks: records outside Redis of the parked events that only Redis has.

Before a partition parks its first event, the partition has a token in Redis and a mark with the
same token in the app's storage. If the token is missing in Redis while the mark exists, Redis has
lost the parked events. docs/adr/0025-marks-and-replicas.md gives the reasons.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, Self

from processing.errors import (
    FormatError,
    ParkedEventsLostError,
    ProcessingError,
    StorageUnavailableError,
)
from processing.formats import json_text
from processing.identity import Source
from processing.parking.event import Placed
from processing.parking.store import ParkingStore, mark_lost

VERSION = 1


class MarkConflictError(ProcessingError):
    """An error for a mark that another writer has changed, made or deleted since the last read."""


class MarkUnreadableError(StorageUnavailableError):
    """An error for a blob at a mark's place that is not the partition's mark.

    Args:
        message: names the blob and what was wrong.
        etag: the blob's ETag, with which the blob can be deleted.
        content: the start of the blob's content.
    """

    def __init__(self, message: str, *, etag: str, content: str) -> None:
        super().__init__(message)
        self.etag = etag
        self.content = content


class MarkInUseError(ProcessingError):
    """An error for a mark whose token Redis has: Redis has lost nothing."""


@dataclass(frozen=True, slots=True)
class Oldest:
    """A lower bound of the parked events of one partition.

    No parked event has a lower sequence number or an earlier enqueued time. In a recreated hub, the
    two numbers may come from two events.

    Attributes:
        offset: the offset of the event with the sequence number; "" if it is not known.
    """

    sequence_number: int
    enqueued_ms: int
    offset: str = ""

    def covers(self, other: Placed) -> bool:
        """Return whether an event, or all events above another bound, lie above this bound."""
        return (
            self.sequence_number <= other.sequence_number and self.enqueued_ms <= other.enqueued_ms
        )

    def lowered(self, other: Oldest) -> Oldest:
        """Return the lower bound of both."""
        first = min(self, other, key=lambda each: each.sequence_number)
        return Oldest(first.sequence_number, min(self.enqueued_ms, other.enqueued_ms), first.offset)

    def __str__(self) -> str:
        time = datetime.fromtimestamp(self.enqueued_ms / 1000, UTC)
        return f"event {self.sequence_number} (enqueued at {time:%Y-%m-%d %H:%M:%S} UTC)"


@dataclass(frozen=True, slots=True)
class ParkingMark:
    """The mark of one partition.

    Attributes:
        token: the token that stands beside the partition's lists in Redis.
        oldest: no parked event of the partition lies below this bound.
        owner: token of the claim that wrote the mark; an earlier claim never replaces the mark.
        written_at: time of the write by the storage's clock, seconds since 1970; the store sets it.
    """

    source: Source
    token: str
    oldest: Oldest
    owner: int
    written_at: float = 0.0

    @property
    def lost(self) -> ParkedEventsLostError:
        """The error for this mark if Redis does not have its token."""
        return ParkedEventsLostError(f"{mark_lost(self.source)}. They begin at {self.oldest}")

    def to_json(self) -> str:
        """Return the mark as JSON, without `written_at`."""
        identity = self.source.identity
        return json_text.dumps(
            {
                "version": VERSION,
                "namespace": identity.namespace,
                "hub": identity.hub,
                "consumer_group": identity.consumer_group,
                "pipeline": identity.pipeline,
                "partition": self.source.partition,
                "token": self.token,
                "oldest": asdict(self.oldest),
                "owner": self.owner,
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes, source: Source, *, written_at: float) -> Self:
        """Parse the mark of a partition.

        Raises:
            FormatError: a newer version of the app wrote the mark.
            ValueError: the text is not a mark of this partition.
        """
        found = json.loads(text)
        try:
            version = found["version"]
            if isinstance(version, int) and version > VERSION:
                raise FormatError(
                    f"the mark of partition {source} has version {version}; this app reads version "
                    f"{VERSION}. Deploy the version of the app that wrote the mark"
                )
            names = ("namespace", "hub", "consumer_group", "pipeline", "partition")
            place = "/".join(found[name] for name in names)
            if version != VERSION or place != str(source):
                raise ValueError(f"it is version {version!r} of the mark of {place}")
            oldest = Oldest(
                _number(found["oldest"]["sequence_number"]),
                _number(found["oldest"]["enqueued_ms"]),
                str(found["oldest"]["offset"]),
            )
            token = found["token"]
            if not isinstance(token, str) or not token:
                raise ValueError(f"its token is {token!r}")
            return cls(source, token, oldest, _number(found["owner"]), written_at)
        except KeyError as error:
            raise ValueError(f"it lacks {error}") from None
        except TypeError as error:
            raise ValueError(f"it is not a mark: {error}") from None


@dataclass(frozen=True, slots=True)
class StoredMark:
    """A mark as it is stored, with the ETag of this version."""

    mark: ParkingMark
    etag: str


class MarkStore(Protocol):
    """A store of marks. Each method raises `StorageUnavailableError` if the store fails."""

    async def read(self, source: Source) -> StoredMark | None:
        """Return a partition's mark, or None if there is none.

        Raises:
            MarkUnreadableError: something else is stored at the mark's place.
            FormatError: a newer version of the app wrote the mark.
        """
        ...

    async def write(self, mark: ParkingMark, etag: str | None) -> StoredMark:
        """Store a mark if the stored version is still `etag`; None: if there is no mark.

        Raises:
            MarkConflictError: another version is stored, or none.
        """
        ...

    async def delete(self, source: Source, etag: str) -> None:
        """Delete a mark if the stored version is still `etag`; without a mark, change nothing.

        Raises:
            MarkConflictError: another version is stored.
        """
        ...

    async def record_drop(self, source: Source, name: str, record: str) -> None:
        """Store the record of a dropped mark under a name; a repeat overwrites the record."""
        ...


def parse(data: bytes, source: Source, *, place: str, etag: str, written_at: float) -> StoredMark:
    """Return the mark that a store has read.

    Args:
        data: the stored content.
        source: the partition whose mark is expected.
        place: the place of the content, for the error.
        etag: the ETag of the stored version.
        written_at: time of the write, seconds since 1970.

    Raises:
        MarkUnreadableError: the content is not a mark of this partition.
        FormatError: a newer version of the app wrote the mark.
    """
    try:
        mark = ParkingMark.from_json(data, source, written_at=written_at)
    except ValueError as error:
        content = data[:1000].decode(errors="replace")
        raise MarkUnreadableError(
            f"{place} is not the mark of partition {source}: {error}. Without the mark nobody can "
            "tell whether Redis has lost parked events: restore the blob, or drop it with "
            f"`breakwater parked drop-mark {source.partition} --reason TEXT`",
            etag=etag,
            content=content,
        ) from None
    return StoredMark(mark, etag)


async def drop_mark(
    marks: MarkStore, parking: ParkingStore, source: Source, *, by: str, reason: str
) -> Oldest | None:
    """Give up the parked events that Redis has lost, on record, so that the partition continues.

    The record is written first. After an error, the call can be repeated.

    Returns:
        The position from which parked events are given up; None: the partition had no mark, or its
        mark was unreadable.

    Raises:
        MarkInUseError: Redis has the mark's token, so nothing is lost.
        MarkConflictError: the mark changed at the same time.
        StorageUnavailableError: a store did not answer.
    """
    oldest: Oldest | None = None
    try:
        stored = await marks.read(source)
    except MarkUnreadableError as error:
        etag, name, content = error.etag, "unreadable", error.content
    else:
        if stored is None:
            return None
        if (await parking.summary(source)).mark == stored.mark.token:
            raise MarkInUseError(
                f"partition {source}: Redis has the token of the mark, so no parked event is lost "
                "and the partition does not wait for the mark"
            )
        etag, name, content = stored.etag, stored.mark.token, stored.mark.to_json()
        oldest = stored.mark.oldest
    record = {"version": VERSION, "source": str(source), "by": by, "reason": reason}
    await marks.record_drop(source, name, json_text.dumps(record | {"mark": content}))
    await marks.delete(source, etag)
    return oldest


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"it has {value!r} instead of a number")
    return value
