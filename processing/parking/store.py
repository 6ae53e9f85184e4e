"""Parked lists: events that wait, in order, behind an event of their key that is not finished.

A list is *parked* behind a poisoned event until a redrive has replayed the event, or *deferred*
behind an event whose dependency is down until a replay has handled the event. "Append if the key
has a list" is one atomic operation of the store. "Release the key if its last entry is finished" is
one, too. Only the partition's owner appends events, and only the holder of a key's lease replays
events. docs/adr/0009-parking.md and docs/adr/0024-deferring.md give the reasons.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol

from processing.errors import (
    LeaseLostError,
    OwnershipLostError,
    ParkedEventsLostError,
    ParkingFullError,
)
from processing.identity import Source
from processing.parking.deferral import Deferral
from processing.parking.event import ListKey, Position, Replayed
from processing.parking.names import ListName
from processing.parking.waking import Seen, Waking
from processing.progress.store import Progress

DUE_KEYS = 64
"""Greatest number of due keys that one claim returns."""
LATEST_KEYS = 2
"""Number of latest deferred keys that a claim returns; the standstill rule needs no more."""
OVERDUE_SECONDS = 600.0
"""Time for which an event counts as overdue; then it is tried again."""
OVERDUE_MARKS = 1000
"""Greatest number of overdue events of a partition that are known."""
PAGE_LISTS = 500
"""Most lists that one call reads; Redis serves nobody else during the call, a few milliseconds."""
OPENINGS = 10
"""Greatest number of openings of a partition that are kept; careful mode needs fewer."""


class EntryKind(StrEnum):
    """The kind of an entry in a parked list; the first letter of its document in the store."""

    EVENT = "E"  # an event that waits for its turn
    POISON = "P"  # a poisoned event; its message is in the poison queue
    UNANNOUNCED = "U"  # a poisoned event; its message may not be in the poison queue yet


class ParkState(IntEnum):
    """The outcome of parking one event."""

    REPLAYED = 0  # a replay has already handled the event
    PARKED = 1  # the event is in the list
    POISON = 2  # the event is in the list as a poisoned event
    UNANNOUNCED = 3  # as POISON, and its message must still go to the poison queue


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a parked list.

    Attributes:
        document: JSON of a `ParkedEvent` (kind EVENT) or of a `PoisonMessage` (other kinds).
    """

    position: Position
    kind: EntryKind
    document: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim on a partition: its progress, and the state of the batch's keys.

    Attributes:
        progress: the progress; `progress.owner` is the token of this claim.
        previous: the token of the claim before this one; 0: there was none.
        parked: those of the batch's keys that have a list.
        replayed: the replayed positions of each of the batch's keys whose events may be
            redelivered.
        due: deferred keys of the partition whose next replay is due, at most `DUE_KEYS`.
        latest: the latest deferred keys of the partition, at most `LATEST_KEYS`, with the time of
            their deferral in seconds since 1970.
        events: number of events in all lists of the partition.
        size: bytes in all lists of the partition.
        mark: the token that stands beside the lists; "": the partition has no mark, or Redis has
            lost it.
        poison_head: id of the event that an operator wants to poison, or "".
        openings: the openings of other processes whose batch is unfinished; see
            `processing.crashes.records.Opening`.
        latest_needs: the dependencies for which the keys in `latest` wait; without the keys whose
            deferral names none.
        overdue: positions of events that have outlasted an invocation and may still run; marked by
            `mark_overdue`.
    """

    progress: Progress
    previous: int = 0
    parked: frozenset[ListKey] = frozenset()
    replayed: Mapping[ListKey, Replayed] = field(default_factory=dict)
    due: tuple[ListKey, ...] = ()
    latest: Mapping[ListKey, float] = field(default_factory=dict)
    events: int = 0
    size: int = 0
    mark: str = ""
    poison_head: str = ""
    openings: tuple[str, ...] = ()
    latest_needs: Mapping[ListKey, str] = field(default_factory=dict)
    overdue: frozenset[Position] = frozenset()

    @property
    def owner(self) -> int:
        """The token of this claim; a later claim has a higher token."""
        return self.progress.owner


@dataclass(frozen=True, slots=True)
class WritingAs:
    """The right to write to a partition's lists.

    Attributes:
        owner: the token of the latest claim.
        mark: the token that must stand beside the lists.
        creates: whether the write may create the token, because the partition has no list.
    """

    owner: int
    mark: str
    creates: bool = False


@dataclass(frozen=True, slots=True)
class ParkReply:
    """The outcome of parking several events of one key.

    Attributes:
        states: the outcome of each event that was taken.
        released: whether the key has no list; then no event was taken.
        replayed: the replayed positions of a released key, or "".
    """

    states: tuple[ParkState, ...] = ()
    released: bool = False
    replayed: Replayed = ""


@dataclass(frozen=True, slots=True)
class DeferReply:
    """The outcome of deferring a key.

    Attributes:
        state: the outcome of the event.
        since: time at which the key was deferred, seconds since 1970 by the store's clock; 0.0 if
            the key is not deferred.
    """

    state: ParkState
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A replay lease on one key.

    Attributes:
        epoch: the partition's epoch; a rewind raises the epoch. A finish of an older epoch, or of
            an event that was enqueued before the last rewind, notes no replayed position.
        deferral: the key's deferral; None: the key is not deferred.
    """

    epoch: int = 0
    deferral: Deferral | None = None


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A key with a parked list.

    Attributes:
        since: time at which the list was created, seconds since 1970.
        entries: number of entries in the key's list.
        deferral: the key's deferral; None: the key waits for an operator.
        due: time of the next replay of a deferred key, seconds since 1970.
    """

    source: Source
    key: ListKey
    since: float
    entries: int
    deferral: Deferral | None = None
    due: float | None = None


@dataclass(frozen=True, slots=True)
class ListHead:
    """A list without the events behind its first entry.

    Attributes:
        parked: the key.
        position: the position of the first entry; "": the list has no entry, because Redis has lost
            some of its data.
        kind: the kind of the first entry; None without an entry, or with one of an unknown kind.
        document: JSON of the `PoisonMessage` if the key is parked behind a poisoned event and the
            documents were asked for; otherwise "".
    """

    parked: ParkedKey
    position: Position = ""
    kind: EntryKind | None = None
    document: str = ""


@dataclass(frozen=True, slots=True)
class PartitionLists:
    """The parked lists of one partition, in numbers.

    Attributes:
        keys: number of keys with a list.
        deferred: number of deferred keys among them.
        events: number of events in all lists.
        size: bytes in all lists.
        oldest: time at which the longest deferred key was deferred, seconds since 1970.
        mark: the token beside the lists, or "".
    """

    keys: int = 0
    deferred: int = 0
    events: int = 0
    size: int = 0
    oldest: float | None = None
    mark: str = ""


class ParkingStore(Protocol):
    """A store of parked events.

    Each method is atomic and can be repeated. Each method raises `StorageUnavailableError` if the
    store does not answer, or if too few replicas confirm a write in time.
    """

    async def confirm(self) -> bool:
        """Return whether as many replicas as configured confirm a write now.

        If they do not, the store expects no confirmation from now on.
        """
        ...

    async def claim(
        self,
        source: Source,
        keys: Collection[ListKey] = (),
        *,
        generation: int = 0,
        opening: str = "",
    ) -> Claim:
        """Claim a partition, which ends all earlier claims on the partition.

        Replayed positions that the watermark has passed are deleted from time to time.

        Args:
            source: the partition.
            keys: the keys of the batch.
            generation: the circuit's generation while the circuit is closed, else 0. At the first
                claim of a generation all deferred keys become due.
            opening: the caller's process and batch, which are recorded with the claim; see
                `processing.crashes.records.opening_text`. "": nothing is recorded.
        """
        ...

    async def poison(
        self,
        writing: WritingAs,
        source: Source,
        key: ListKey,
        position: Position,
        document: str,
    ) -> str | None:
        """Park a key, with the poisoned event as an entry. A repeat keeps the first document.

        Returns:
            The document in the list. None: the answer to an earlier call was lost, and a redrive
            has replayed the event since then; nothing is parked.

        Raises:
            OwnershipLostError: another owner has claimed the partition.
            ParkedEventsLostError: the mark's token is missing.
            ParkingFullError: the partition's lists are full.
        """
        ...

    async def announced(self, source: Source, key: ListKey, position: Position) -> None:
        """Record that the poisoned event's message is in the poison queue.

        A key that `replace` has left deferred is parked from now on.
        """
        ...

    async def defer(
        self,
        writing: WritingAs,
        source: Source,
        key: ListKey,
        event: tuple[Position, str],
        *,
        deferral: Deferral,
        pause_seconds: float,
        seen: Seen | None = None,
    ) -> DeferReply:
        """Defer a key, with its failing event (position and document) as the first entry.

        The next replay is due after `pause_seconds`, or after `WOKEN_SECONDS` if the keys have been
        woken since the state in `seen`. A repeat changes nothing.

        Raises:
            OwnershipLostError: another owner has claimed the partition.
            ParkedEventsLostError: the mark's token is missing.
            ParkingFullError: the partition's lists are full; nothing was deferred.
        """
        ...

    async def park(
        self,
        writing: WritingAs,
        source: Source,
        key: ListKey,
        events: Sequence[tuple[Position, str]],
    ) -> ParkReply:
        """Append events (with their documents) to their key's list if the key has one.

        Without events, only the mark's token is placed.

        Raises:
            OwnershipLostError: another owner has claimed the partition.
            ParkedEventsLostError: the mark's token is missing.
            ParkingFullError: the key's list or the partition's lists are full, and not even the
                first event fits. If only some events fit, the reply has a state for each of these.
        """
        ...

    async def document(self, source: Source, key: ListKey, position: Position) -> Entry | None:
        """Return one entry, or None if the list does not contain the position."""
        ...

    async def keys(self) -> list[ParkedKey]:
        """Return the keys with a list, of all partitions; the calls are as many as the pages."""
        ...

    async def names(self, source: Source) -> list[ListName]:
        """Return the names of a partition's lists, the list that waits longest first."""
        ...

    async def heads(
        self, source: Source, names: Sequence[ListName], *, documents: bool = False
    ) -> list[ListHead]:
        """Return lists of one partition with their first entries; released lists are left out.

        Args:
            source: the partition.
            names: the names of the lists, at most `PAGE_LISTS`.
            documents: whether the messages of poisoned events are needed.
        """
        ...

    async def sources(self) -> list[Source]:
        """Return the partitions that may have parked lists."""
        ...

    async def needs(self, source: Source) -> Mapping[str, int]:
        """Return the number of a partition's deferred keys by the dependency they wait for.

        The name "" stands for the keys whose dependency is not known.
        """
        ...

    async def summary(self, source: Source) -> PartitionLists:
        """Return the numbers of a partition's lists."""
        ...

    async def due(self, source: Source, *, most: int, generation: int = 0) -> list[ListKey]:
        """Return keys whose next replay is due, those due first first; `generation` as `claim`."""
        ...

    async def wake(self, source: Source, waking: Waking) -> int:
        """Make keys due that wait for a dependency, once for each state of its circuit.

        The keys follow those of others that are due already. While the circuit is half-open, only
        the keys with the fewest attempts are due. A repeat after `again_seconds` chooses among the
        others: a key that is due since an earlier waking may have the lease of a dead process.

        Returns:
            The number of keys that were made due; 0 also if another call has done so for this
            state.
        """
        ...

    async def entries(
        self, source: Source, key: ListKey, *, after: Position = "", most: int = 100
    ) -> list[Entry]:
        """Return the first entries of a list after a position, at most `most`."""
        ...

    async def lease(
        self, source: Source, key: ListKey, token: str, milliseconds: int
    ) -> Lease | None:
        """Acquire a key's replay lease; None: another token holds the lease."""
        ...

    async def renew(self, source: Source, key: ListKey, token: str, milliseconds: int) -> bool:
        """Renew the lease; False: the lease expired, and another holder may have acquired it."""
        ...

    async def release(self, source: Source, key: ListKey, token: str) -> None:
        """Release the lease if this token still holds it."""
        ...

    async def postpone(
        self,
        source: Source,
        key: ListKey,
        token: str,
        deferral: Deferral,
        pause_seconds: float,
        *,
        seen: Seen | None = None,
    ) -> None:
        """Store the deferral after a failed replay; the next replay is due after the pause.

        The pause is at most `WOKEN_SECONDS` if the keys have been woken since the state in `seen`.
        A key that is not deferred, or that has no list, stays as it is.

        Raises:
            LeaseLostError: this token does not hold the lease.
        """
        ...

    async def replace(
        self, source: Source, key: ListKey, token: str, position: Position, document: str
    ) -> None:
        """Replace an entry by a poisoned entry; the letter of its kind comes first.

        A deferred key is parked from now on: its replays wait for an operator. With the kind
        UNANNOUNCED, this follows with `announced`: until then the key stays deferred, and its next
        replay is due, so that a replay announces the event if this caller cannot.

        Raises:
            LeaseLostError: this token does not hold the lease.
        """
        ...

    async def finish(
        self,
        source: Source,
        key: ListKey,
        token: str,
        position: Position,
        verdict: str = "",
        *,
        epoch: int = 0,
    ) -> int:
        """Remove a finished entry, and release the key with its last entry.

        Args:
            source: the partition.
            key: the name of the list.
            token: holds the key's lease.
            position: the entry's position.
            verdict: the verdict of a poisoned event; later copies of its message are stale.
            epoch: the epoch of the lease.

        Returns:
            The number of entries that are left; 0: the key is released.

        Raises:
            LeaseLostError: this token does not hold the lease.
        """
        ...

    async def is_stale(self, source: Source, verdict: str) -> bool:
        """Return whether a poisoned event with this verdict was replayed."""
        ...

    async def forget(self, source: Source, after: Position) -> None:
        """Delete replayed positions after a position, so that those events are processed again."""
        ...

    async def drop_mark(self, source: Source, mark: str) -> bool:
        """Remove the mark's token if it is this one and the partition has no list.

        Returns:
            Whether the partition has no token now.
        """
        ...

    async def mark_overdue(self, source: Source, positions: Sequence[Position]) -> None:
        """Mark events that have outlasted their invocation, for `OVERDUE_SECONDS`.

        Later claims return the marks; the owner defers these events instead of starting them.
        """
        ...

    async def poison_head(self, source: Source, event_id: str) -> None:
        """Store the id of the event that the owner poisons at its next attempt; "" for none."""
        ...


def claim_lost(source: Source) -> OwnershipLostError:
    """Return the error for a claim that is not the latest."""
    return OwnershipLostError(f"another instance owns partition {source} now")


def lease_lost(source: Source) -> LeaseLostError:
    """Return the error for an expired lease."""
    return LeaseLostError(f"partition {source}: the key's replay lease expired")


def mark_lost(source: Source) -> ParkedEventsLostError:
    """Return the error for a token that is missing beside the lists."""
    return ParkedEventsLostError(
        f"partition {source}: Redis has lost the parked events of this partition. Nothing of the "
        "partition is handled until an operator decides: `breakwater rewind --to-mark` "
        "processes the lost events again, as far as the hub retains them"
    )


def parked_list_full(source: Source, most: int) -> ParkingFullError:
    """Return the error for a list that has reached its limit."""
    return ParkingFullError(
        f"partition {source}: {most} events of one key are parked, the limit of "
        "PROCESSING_PARKED_EVENTS_MAX; redrive the key"
    )


def partition_full(source: Source, what: str, setting: str) -> ParkingFullError:
    """Return the error for a partition whose lists have reached a limit.

    Args:
        source: the partition.
        what: the limit with its unit, such as "10000 events".
        setting: the name of the setting.
    """
    return ParkingFullError(
        f"partition {source}: {what} wait in parked lists, the limit of {setting}; the partition "
        "holds until replays or a redrive have handled some of them"
    )
