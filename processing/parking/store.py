"""Parking: what comes behind a poisoned event of a key waits, in order, until a redrive.

The decision "is this key parked? then append" is one atomic act of the store, and so is "the last
one is replayed? then release". Only the partition's owner parks; only the holder of a key's lease
replays. docs/adr/0009-parking.md has the argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol

from processing.errors import LeaseLostError, OwnershipLostError, StorageUnavailableError
from processing.event import Source
from processing.parking.event import Position


class EntryKind(StrEnum):
    """What an entry of a parked list is; the first letter of its document in the store."""

    EVENT = "E"  # waits behind a poisoned one
    POISON = "P"  # a poisoned one, which is in the poison queue as well
    UNANNOUNCED = "U"  # a poisoned one whose message is not known to be in the poison queue yet


class ParkState(IntEnum):
    """What became of an event that was to be parked."""

    REPLAYED = 0  # a redrive has replayed it already
    PARKED = 1  # it stands in the list, now or since before
    POISON = 2  # it stands in the list as poisoned
    UNANNOUNCED = 3  # the same, and its message must still go to the poison queue


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a parked list; the document is the JSON of a `ParkedEvent` (kind EVENT) or of a
    `PoisonMessage`.
    """

    position: Position
    kind: EntryKind
    document: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What the owner of a partition knows of its parked keys at the start of a batch.

    Attributes:
        owner: names this claim; a later claim of the same partition ends it.
        parked: keys that are parked (None: the events without a key).
        replayed: how far keys were replayed that a redelivery may go behind.
    """

    owner: str
    parked: frozenset[str | None] = frozenset()
    replayed: Mapping[str | None, Position] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParkReply:
    """What became of events that were to be parked, one state each; or that their key is not
    parked (any more), up to where it was replayed, and that none of them was taken.
    """

    states: tuple[ParkState, ...] = ()
    released: bool = False
    replayed: Position = ""


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A parked key: since when (seconds since 1970), and how many entries wait."""

    source: Source
    key: str | None
    since: float
    entries: int


class ParkingStore(Protocol):
    """Where parked events are kept. Each method is atomic and repeat-safe, and raises
    `StorageUnavailableError` when it is not done.
    """

    async def claim(self, source: Source, owner: str, watermark: Position) -> Claim:
        """Take a partition over: nobody else parks from now on. Forgets how far keys were replayed
        where progress (`watermark`, or "") knows it as well.
        """
        ...

    async def poison(
        self, claim: Claim, source: Source, key: str | None, position: Position, document: str
    ) -> str | None:
        """Park a key, with the poisoned event as an entry. A repeat keeps the first document.

        Returns:
            The document that stands in the list; None: a redrive has replayed the event since this
            was first asked for (the answer was lost), and nothing is parked.

        Raises:
            OwnershipLostError: another owner has claimed the partition.
        """
        ...

    async def announced(self, source: Source, key: str | None, position: Position) -> None:
        """The poisoned event's message is in the poison queue."""
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
            StorageUnavailableError: also when the list is full; those that fit are parked.
        """
        ...

    async def document(self, source: Source, key: str | None, position: Position) -> Entry | None:
        """One entry, if it is there."""
        ...

    async def keys(self) -> list[ParkedKey]:
        """All parked keys of all partitions."""
        ...

    async def entries(
        self, source: Source, key: str | None, *, after: Position = "", most: int = 100
    ) -> list[Entry]:
        """The first entries of a list behind a position."""
        ...

    async def lease(self, source: Source, key: str | None, token: str, milliseconds: int) -> bool:
        """Take a key's replay lease, if nobody has it."""
        ...

    async def renew(self, source: Source, key: str | None, token: str, milliseconds: int) -> bool:
        """Hold the lease longer; False: it has run out, and someone else may have it."""
        ...

    async def release(self, source: Source, key: str | None, token: str) -> None:
        """Give the lease back, if it is still this one's."""
        ...

    async def replace(
        self, source: Source, key: str | None, token: str, position: Position, document: str
    ) -> None:
        """Change an entry's document (its kind's letter first).

        Raises:
            LeaseLostError: the lease is someone else's.
        """
        ...

    async def finish(
        self, source: Source, key: str | None, token: str, position: Position, verdict: str = ""
    ) -> int:
        """Remove an entry that was replayed; with the last one, release the key. `verdict` is that
        of a poisoned event: copies of its message that turn up later are stale.

        Returns:
            How many entries are left; 0: the key is released.

        Raises:
            LeaseLostError: the lease is someone else's.
        """
        ...

    async def is_stale(self, source: Source, verdict: str) -> bool:
        """Whether a poisoned event with this verdict was replayed."""
        ...

    async def forget(self, source: Source, after: Position) -> None:
        """Forget that events behind a position were replayed: they shall be processed again."""
        ...


def claim_lost(source: Source) -> OwnershipLostError:
    """The error for a claim that is not the latest."""
    return OwnershipLostError(f"another instance owns partition {source} now")


def lease_lost(source: Source) -> LeaseLostError:
    """The error for a lease that ran out."""
    return LeaseLostError(f"partition {source}: the key's replay lease ran out")


def parked_list_full(source: Source, most: int) -> StorageUnavailableError:
    """The error for a list that takes no more."""
    return StorageUnavailableError(
        f"partition {source}: {most} events of one key are parked, PROCESSING_PARKED_EVENTS_MAX "
        "takes no more; redrive the key"
    )
