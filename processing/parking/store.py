"""Parking: later events of a poisoned event's key wait, in order, until a redrive.

"Append if the key is parked" is one atomic operation of the store. "Release the key if its last
entry is replayed" is one, too. Only the partition's owner parks events, and only the holder of a
key's lease replays events. docs/adr/0009-parking.md gives the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol

from processing.errors import LeaseLostError, OwnershipLostError, StorageUnavailableError
from processing.identity import Source
from processing.parking.event import Position


class EntryKind(StrEnum):
    """The kind of an entry in a parked list; the first letter of its document in the store."""

    EVENT = "E"  # an event that waits behind a poisoned event
    POISON = "P"  # a poisoned event; its message is in the poison queue
    UNANNOUNCED = "U"  # a poisoned event; its message may not be in the poison queue yet


class ParkState(IntEnum):
    """The outcome of parking one event."""

    REPLAYED = 0  # a redrive has already replayed the event
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
    """A claim on a partition, with its parked and replayed keys at the start of a batch.

    Attributes:
        owner: names this claim; a later claim on the same partition ends this claim.
        parked: the parked keys (None: the events without a key).
        replayed: last replayed position of each key whose events may be redelivered.
    """

    owner: str
    parked: frozenset[str | None] = frozenset()
    replayed: Mapping[str | None, Position] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParkReply:
    """The outcome of parking several events of one key.

    Attributes:
        states: the outcome of each event that was taken.
        released: whether the key is not parked; then no event was taken.
        replayed: position of the last replayed event of a released key, or "".
    """

    states: tuple[ParkState, ...] = ()
    released: bool = False
    replayed: Position = ""


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A parked key.

    Attributes:
        since: time of parking, seconds since 1970.
        entries: number of entries in the key's list.
    """

    source: Source
    key: str | None
    since: float
    entries: int


class ParkingStore(Protocol):
    """A store of parked events.

    Each method is atomic and can be repeated. Each method raises `StorageUnavailableError` if the
    store does not answer.
    """

    async def claim(self, source: Source, owner: str, watermark: Position) -> Claim:
        """Claim a partition, which ends all earlier claims on the partition.

        Replayed positions at or below the watermark (or "") are deleted, because progress covers
        those events.
        """
        ...

    async def poison(
        self, claim: Claim, source: Source, key: str | None, position: Position, document: str
    ) -> str | None:
        """Park a key, with the poisoned event as an entry. A repeat keeps the first document.

        Returns:
            The document in the list. None: the answer to an earlier call was lost, and a redrive
            has replayed the event since then; nothing is parked.

        Raises:
            OwnershipLostError: another owner has claimed the partition.
        """
        ...

    async def announced(self, source: Source, key: str | None, position: Position) -> None:
        """Record that the poisoned event's message is in the poison queue."""
        ...

    async def park(
        self,
        claim: Claim,
        source: Source,
        key: str | None,
        events: Sequence[tuple[Position, str]],
    ) -> ParkReply:
        """Append events (with their documents) to their key's list if the key is parked.

        Raises:
            OwnershipLostError: another owner has claimed the partition.
            StorageUnavailableError: the list is full (the events that fit are parked), or the store
                does not answer.
        """
        ...

    async def document(self, source: Source, key: str | None, position: Position) -> Entry | None:
        """Return one entry, or None if the list does not contain the position."""
        ...

    async def keys(self) -> list[ParkedKey]:
        """Return the parked keys of all partitions."""
        ...

    async def entries(
        self, source: Source, key: str | None, *, after: Position = "", most: int = 100
    ) -> list[Entry]:
        """Return the first entries of a list after a position, at most `most`."""
        ...

    async def lease(self, source: Source, key: str | None, token: str, milliseconds: int) -> bool:
        """Acquire a key's replay lease; return whether this token holds the lease."""
        ...

    async def renew(self, source: Source, key: str | None, token: str, milliseconds: int) -> bool:
        """Renew the lease; False: the lease expired, and another holder may have acquired it."""
        ...

    async def release(self, source: Source, key: str | None, token: str) -> None:
        """Release the lease if this token still holds it."""
        ...

    async def replace(
        self, source: Source, key: str | None, token: str, position: Position, document: str
    ) -> None:
        """Replace an entry's document; the letter of its kind comes first.

        Raises:
            LeaseLostError: this token does not hold the lease.
        """
        ...

    async def finish(
        self, source: Source, key: str | None, token: str, position: Position, verdict: str = ""
    ) -> int:
        """Remove a replayed entry, and release the key with its last entry.

        `verdict` is the verdict of a poisoned event; later copies of its message are stale.

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


def claim_lost(source: Source) -> OwnershipLostError:
    """Return the error for a claim that is not the latest."""
    return OwnershipLostError(f"another instance owns partition {source} now")


def lease_lost(source: Source) -> LeaseLostError:
    """Return the error for an expired lease."""
    return LeaseLostError(f"partition {source}: the key's replay lease expired")


def parked_list_full(source: Source, most: int) -> StorageUnavailableError:
    """Return the error for a list that has reached its limit."""
    return StorageUnavailableError(
        f"partition {source}: {most} events of one key are parked, the limit of "
        "PROCESSING_PARKED_EVENTS_MAX; redrive the key"
    )
