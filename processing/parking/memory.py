"""The in-memory store of parked events, for unit tests and experiments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from processing.identity import Source
from processing.parking.event import Position, is_reached
from processing.parking.store import (
    Claim,
    Entry,
    EntryKind,
    ParkedKey,
    ParkReply,
    ParkState,
    claim_lost,
    lease_lost,
    parked_list_full,
)

type Place = tuple[Source, str | None]

_STATES = {
    EntryKind.EVENT: ParkState.PARKED,
    EntryKind.POISON: ParkState.POISON,
    EntryKind.UNANNOUNCED: ParkState.UNANNOUNCED,
}


@dataclass(slots=True)
class _Parked:
    since: float
    entries: dict[Position, Entry] = field(default_factory=dict)


class MemoryParkingStore:
    """A store of parked events in dictionaries, lost with the process.

    Each method first lets other tasks run, as a network round trip would.
    """

    def __init__(self, *, most: int = 100_000, clock: Callable[[], float] = time.time) -> None:
        self._most = most
        self._clock = clock
        self._owners: dict[Source, str] = {}
        self._parked: dict[Place, _Parked] = {}
        self._replayed: dict[Place, Position] = {}
        self._verdicts: set[tuple[Source, str]] = set()
        self._leases: dict[Place, tuple[str, float]] = {}

    async def claim(self, source: Source, owner: str, watermark: Position) -> Claim:
        """See `ParkingStore.claim`."""
        await asyncio.sleep(0)
        self._owners[source] = owner
        self._replayed = {
            place: position
            for place, position in self._replayed.items()
            if place[0] != source or position > watermark
        }
        return Claim(
            owner,
            frozenset(key for known, key in self._parked if known == source),
            {key: at for (known, key), at in self._replayed.items() if known == source},
        )

    async def poison(
        self, claim: Claim, source: Source, key: str | None, position: Position, document: str
    ) -> str | None:
        """See `ParkingStore.poison`."""
        await asyncio.sleep(0)
        self._check_owner(source, claim)
        parked = self._parked.get((source, key))
        known = parked and parked.entries.get(position)
        if known and known.kind is not EntryKind.EVENT:
            return known.document
        if is_reached(position, self._replayed.get((source, key), "")):
            return None
        parked = self._parked.setdefault((source, key), _Parked(self._clock()))
        parked.entries[position] = Entry(position, EntryKind.UNANNOUNCED, document)
        return document

    async def announced(self, source: Source, key: str | None, position: Position) -> None:
        """See `ParkingStore.announced`."""
        await asyncio.sleep(0)
        parked = self._parked.get((source, key))
        entry = parked and parked.entries.get(position)
        if parked and entry and entry.kind is EntryKind.UNANNOUNCED:
            parked.entries[position] = Entry(position, EntryKind.POISON, entry.document)

    async def park(
        self,
        claim: Claim,
        source: Source,
        key: str | None,
        events: Sequence[tuple[Position, str]],
    ) -> ParkReply:
        """See `ParkingStore.park`."""
        await asyncio.sleep(0)
        self._check_owner(source, claim)
        replayed = self._replayed.get((source, key), "")
        parked = self._parked.get((source, key))
        if parked is None:
            return ParkReply(released=True, replayed=replayed)
        states: list[ParkState] = []
        for position, document in events:
            if position in parked.entries:
                states.append(_STATES[parked.entries[position].kind])
            elif is_reached(position, replayed):
                states.append(ParkState.REPLAYED)
            elif len(parked.entries) >= self._most:
                raise parked_list_full(source, self._most)
            else:
                parked.entries[position] = Entry(position, EntryKind.EVENT, document)
                states.append(ParkState.PARKED)
        return ParkReply(tuple(states))

    async def document(self, source: Source, key: str | None, position: Position) -> Entry | None:
        """See `ParkingStore.document`."""
        await asyncio.sleep(0)
        parked = self._parked.get((source, key))
        return parked.entries.get(position) if parked else None

    async def keys(self) -> list[ParkedKey]:
        """See `ParkingStore.keys`."""
        await asyncio.sleep(0)
        return [
            ParkedKey(source, key, parked.since, len(parked.entries))
            for (source, key), parked in self._parked.items()
        ]

    async def entries(
        self, source: Source, key: str | None, *, after: Position = "", most: int = 100
    ) -> list[Entry]:
        """See `ParkingStore.entries`."""
        await asyncio.sleep(0)
        parked = self._parked.get((source, key))
        behind = sorted(at for at in (parked.entries if parked else ()) if at > after)
        return [parked.entries[at] for at in behind[:most]] if parked else []

    async def lease(self, source: Source, key: str | None, token: str, milliseconds: int) -> bool:
        """See `ParkingStore.lease`."""
        await asyncio.sleep(0)
        if self._holder(source, key) not in (None, token):
            return False
        self._leases[source, key] = (token, self._clock() + milliseconds / 1000)
        return True

    async def renew(self, source: Source, key: str | None, token: str, milliseconds: int) -> bool:
        """See `ParkingStore.renew`."""
        await asyncio.sleep(0)
        if self._holder(source, key) != token:
            return False
        self._leases[source, key] = (token, self._clock() + milliseconds / 1000)
        return True

    async def release(self, source: Source, key: str | None, token: str) -> None:
        """See `ParkingStore.release`."""
        await asyncio.sleep(0)
        if self._holder(source, key) == token:
            del self._leases[source, key]

    async def replace(
        self, source: Source, key: str | None, token: str, position: Position, document: str
    ) -> None:
        """See `ParkingStore.replace`."""
        await asyncio.sleep(0)
        self._check_lease(source, key, token)
        parked = self._parked.get((source, key))
        if parked and position in parked.entries:
            parked.entries[position] = Entry(position, EntryKind(document[0]), document[1:])

    async def finish(
        self, source: Source, key: str | None, token: str, position: Position, verdict: str = ""
    ) -> int:
        """See `ParkingStore.finish`."""
        await asyncio.sleep(0)
        self._check_lease(source, key, token)
        self._replayed[source, key] = max(position, self._replayed.get((source, key), ""))
        if verdict:
            self._verdicts.add((source, verdict))
        parked = self._parked.get((source, key))
        if parked is None:
            return 0
        parked.entries.pop(position, None)
        if not parked.entries:
            del self._parked[source, key]
        return len(parked.entries)

    async def is_stale(self, source: Source, verdict: str) -> bool:
        """See `ParkingStore.is_stale`."""
        await asyncio.sleep(0)
        return (source, verdict) in self._verdicts

    async def forget(self, source: Source, after: Position) -> None:
        """See `ParkingStore.forget`."""
        await asyncio.sleep(0)
        self._replayed = {
            place: at for place, at in self._replayed.items() if place[0] != source or at <= after
        }

    def _check_owner(self, source: Source, claim: Claim) -> None:
        if self._owners.get(source) != claim.owner:
            raise claim_lost(source)

    def _holder(self, source: Source, key: str | None) -> str | None:
        token, until = self._leases.get((source, key), (None, 0.0))
        return token if self._clock() < until else None

    def _check_lease(self, source: Source, key: str | None, token: str) -> None:
        if self._holder(source, key) != token:
            raise lease_lost(source)
