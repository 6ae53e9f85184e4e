"""The in-memory store of parked events, for unit tests and experiments."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from processing.errors import ParkingFullError
from processing.identity import Source
from processing.parking.deferral import Deferral
from processing.parking.event import (
    ListKey,
    Position,
    Replayed,
    extended,
    is_reached,
    position_of,
)
from processing.parking.names import ListName, label_of
from processing.parking.store import (
    DUE_KEYS,
    LATEST_KEYS,
    OPENINGS,
    OVERDUE_MARKS,
    OVERDUE_SECONDS,
    Claim,
    DeferReply,
    Entry,
    EntryKind,
    Lease,
    ListHead,
    ParkedKey,
    ParkReply,
    ParkState,
    PartitionLists,
    WritingAs,
    claim_lost,
    lease_lost,
    mark_lost,
    parked_list_full,
    partition_full,
)
from processing.parking.waking import WOKEN_SECONDS, Seen, Waking
from processing.progress.memory import MemoryProgressStore
from processing.progress.store import Progress

type Place = tuple[Source, ListKey]

_STATES = {
    EntryKind.EVENT: ParkState.PARKED,
    EntryKind.POISON: ParkState.POISON,
    EntryKind.UNANNOUNCED: ParkState.UNANNOUNCED,
}


@dataclass(slots=True)
class _List:
    since: float
    entries: dict[Position, Entry] = field(default_factory=dict)
    deferral: Deferral | None = None
    due: float = 0.0

    @property
    def deferred_since(self) -> float:
        """The time of the deferral; 0.0 if the list is not deferred."""
        return 0.0 if self.deferral is None else self.deferral.since

    @property
    def size(self) -> int:
        """The bytes of the list's documents."""
        return sum(len(entry.document.encode()) for entry in self.entries.values())


def _parked(source: Source, key: ListKey, each: _List) -> ParkedKey:
    due = each.due if each.deferral is not None else None
    return ParkedKey(source, key, each.since, len(each.entries), each.deferral, due)


class MemoryParkingStore:
    """A store of parked events in dictionaries, lost with the process.

    Each method first lets other tasks run, as a network round trip would.

    Args:
        progress: the store that keeps the partitions' owners; None for a new one.
        most: most entries of one key.
        most_events: number of events in all lists of one partition at which no event joins a
            deferred key.
        most_bytes: greatest size of all lists of one partition together.
        clock: returns the time in seconds since 1970.
    """

    def __init__(
        self,
        progress: MemoryProgressStore | None = None,
        *,
        most: int = 100_000,
        most_events: int = 10_000,
        most_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.progress = progress or MemoryProgressStore()
        self._limits = (most, most_events, most_bytes)
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """Lose all lists, as a server does that is emptied; the progress store has its own."""
        self._lists: dict[Place, _List] = {}
        self._replayed: dict[Place, Replayed] = {}
        self._verdicts: set[tuple[Source, str]] = set()
        self._leases: dict[Place, tuple[str, float]] = {}
        self._marks: dict[Source, str] = {}
        self._generations: dict[Source, int] = {}
        self._poison_heads: dict[Source, str] = {}
        self._wakings: dict[tuple[Source, str], tuple[tuple[int, int], float]] = {}
        # The keys that the wakings for the present state have made due, and since when they are.
        self._woken: dict[tuple[Source, str], dict[ListKey, float]] = {}
        self._openings: dict[Source, list[str]] = {}
        self._overdue: dict[Source, dict[Position, float]] = {}

    async def confirm(self) -> bool:
        """See `ParkingStore.confirm`."""
        await asyncio.sleep(0)
        return True

    async def claim(
        self,
        source: Source,
        keys: Collection[ListKey] = (),
        *,
        generation: int = 0,
        opening: str = "",
    ) -> Claim:
        """See `ParkingStore.claim`."""
        await asyncio.sleep(0)
        progress, previous = self.progress.take(source)
        watermark = "" if progress.watermark is None else position_of(progress.watermark)
        self._replayed = {
            place: position
            for place, position in self._replayed.items()
            if place[0] != source or position.partition("|")[0] > watermark
        }
        lists = self._of(source)
        deferred = {key: each.deferral for key, each in lists.items() if each.deferral is not None}
        latest = sorted(deferred, key=lambda key: -deferred[key].since)[:LATEST_KEYS]
        return Claim(
            progress,
            previous,
            frozenset(key for key in keys if key in lists),
            self._replayed_among(source, keys),
            tuple(self._due(source, DUE_KEYS, generation)),
            {key: deferred[key].since for key in latest},
            sum(len(each.entries) for each in lists.values()),
            sum(each.size for each in lists.values()),
            self._marks.get(source, ""),
            self._poison_heads.get(source, ""),
            self._opened(source, progress, opening),
            {key: deferred[key].dependency for key in latest if deferred[key].dependency},
            frozenset(
                position
                for position, expiry in self._overdue.get(source, {}).items()
                if expiry > self._clock()
            ),
        )

    async def poison(
        self, writing: WritingAs, source: Source, key: ListKey, position: Position, document: str
    ) -> str | None:
        """See `ParkingStore.poison`."""
        await asyncio.sleep(0)
        self._check_writer(source, writing)
        parked = self._lists.get((source, key))
        known = parked and parked.entries.get(position)
        if known and known.kind is not EntryKind.EVENT:
            return known.document
        if is_reached(position, self._replayed.get((source, key), "")):
            return None
        if (full := self._full_for(source, None, document)) is not None:
            raise full
        parked = self._lists.setdefault((source, key), _List(self._clock()))
        parked.entries[position] = Entry(position, EntryKind.UNANNOUNCED, document)
        parked.deferral = None
        return document

    async def announced(self, source: Source, key: ListKey, position: Position) -> None:
        """See `ParkingStore.announced`."""
        await asyncio.sleep(0)
        parked = self._lists.get((source, key))
        entry = parked and parked.entries.get(position)
        if parked and entry and entry.kind is EntryKind.UNANNOUNCED:
            parked.entries[position] = Entry(position, EntryKind.POISON, entry.document)
            parked.deferral = None

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
        """See `ParkingStore.defer`."""
        await asyncio.sleep(0)
        self._check_writer(source, writing)
        position, document = event
        parked = self._lists.get((source, key))
        if parked is not None and position in parked.entries:
            return DeferReply(_STATES[parked.entries[position].kind], parked.deferred_since)
        if is_reached(position, self._replayed.get((source, key), "")):
            return DeferReply(ParkState.REPLAYED)
        if (full := self._full_for(source, None, document, defers=True)) is not None:
            raise full
        now = self._clock()
        if parked is None:
            parked = self._lists[source, key] = _List(now)
            parked.deferral = replace(deferral.clipped(), since=now, last_try=now)
            parked.due = now + self._pause(source, pause_seconds, seen)
        parked.entries[position] = Entry(position, EntryKind.EVENT, document)
        return DeferReply(ParkState.PARKED, parked.deferred_since)

    async def park(
        self,
        writing: WritingAs,
        source: Source,
        key: ListKey,
        events: Sequence[tuple[Position, str]],
    ) -> ParkReply:
        """See `ParkingStore.park`."""
        await asyncio.sleep(0)
        self._check_writer(source, writing)
        replayed = self._replayed.get((source, key), "")
        parked = self._lists.get((source, key))
        if not events:
            return ParkReply()
        if parked is None:
            return ParkReply(released=True, replayed=replayed)
        states: list[ParkState] = []
        for position, document in events:
            if position in parked.entries:
                states.append(_STATES[parked.entries[position].kind])
            elif is_reached(position, replayed):
                states.append(ParkState.REPLAYED)
            else:
                if (full := self._full_for(source, parked, document)) is not None:
                    if states:
                        break
                    raise full
                parked.entries[position] = Entry(position, EntryKind.EVENT, document)
                states.append(ParkState.PARKED)
        return ParkReply(tuple(states))

    async def document(self, source: Source, key: ListKey, position: Position) -> Entry | None:
        """See `ParkingStore.document`."""
        await asyncio.sleep(0)
        parked = self._lists.get((source, key))
        return parked.entries.get(position) if parked else None

    async def keys(self) -> list[ParkedKey]:
        """See `ParkingStore.keys`."""
        await asyncio.sleep(0)
        return [_parked(*place, each) for place, each in self._lists.items()]

    async def names(self, source: Source) -> list[ListName]:
        """See `ParkingStore.names`."""
        await asyncio.sleep(0)
        return sorted(
            ListName(int(each.since * 1e6), source.partition, label_of(key))
            for key, each in self._of(source).items()
        )

    async def heads(
        self, source: Source, names: Sequence[ListName], *, documents: bool = False
    ) -> list[ListHead]:
        """See `ParkingStore.heads`."""
        await asyncio.sleep(0)
        heads = []
        for name in names:
            if (each := self._lists.get((source, name.key))) is not None:
                first = each.entries[min(each.entries)]
                has_document = first.kind is not EntryKind.EVENT and each.deferral is None
                document = first.document if documents and has_document else ""
                parked = _parked(source, name.key, each)
                heads.append(ListHead(parked, first.position, first.kind, document))
        return heads

    async def sources(self) -> list[Source]:
        """See `ParkingStore.sources`."""
        await asyncio.sleep(0)
        return sorted({source for source, _ in self._lists}, key=str)

    async def needs(self, source: Source) -> dict[str, int]:
        """See `ParkingStore.needs`."""
        await asyncio.sleep(0)
        found = [each.deferral for each in self._of(source).values()]
        return Counter(each.dependency for each in found if each is not None)

    async def summary(self, source: Source) -> PartitionLists:
        """See `ParkingStore.summary`."""
        await asyncio.sleep(0)
        lists = self._of(source).values()
        deferred = [each.deferral.since for each in lists if each.deferral is not None]
        return PartitionLists(
            len(lists),
            len(deferred),
            sum(len(each.entries) for each in lists),
            sum(each.size for each in lists),
            min(deferred, default=None),
            self._marks.get(source, ""),
        )

    async def due(self, source: Source, *, most: int, generation: int = 0) -> list[ListKey]:
        """See `ParkingStore.due`."""
        await asyncio.sleep(0)
        return self._due(source, most, generation)

    async def wake(self, source: Source, waking: Waking) -> int:
        """See `ParkingStore.wake`."""
        await asyncio.sleep(0)
        now, place = self._clock(), (source, waking.dependency)
        if waking.is_done(self._wakings.get(place), now):
            return 0
        last = self._wakings.get(place)
        if last is None or last[0] != waking.position:
            self._woken[place] = {}
        self._wakings[place] = (waking.position, now)
        lists = self._of(source)
        waiting = {
            key: each.deferral.attempts
            for key, each in lists.items()
            if each.deferral is not None and each.deferral.dependency == waking.dependency
        }
        woken = self._woken[place]
        for key, since in woken.items():
            if key in waiting and lists[key].due == since:
                del waiting[key]  # its replay has not ended; it may be a dead process's
        chosen = waking.choose(waiting)
        if not waking.closed:
            for key in waiting:  # the other keys must not take the permits of these
                if lists[key].due <= now:
                    lists[key].due = now + waking.again_seconds
        for number, key in enumerate(chosen):
            # Far enough apart for the clock's precision, and never later than now.
            lists[key].due = woken[key] = now - (len(chosen) - number) * 1e-6
        return len(chosen)

    async def entries(
        self, source: Source, key: ListKey, *, after: Position = "", most: int = 100
    ) -> list[Entry]:
        """See `ParkingStore.entries`."""
        await asyncio.sleep(0)
        parked = self._lists.get((source, key))
        behind = sorted(at for at in (parked.entries if parked else ()) if at > after)
        return [parked.entries[at] for at in behind[:most]] if parked else []

    async def lease(
        self, source: Source, key: ListKey, token: str, milliseconds: int
    ) -> Lease | None:
        """See `ParkingStore.lease`."""
        await asyncio.sleep(0)
        if self._holder(source, key) not in (None, token):
            return None
        self._leases[source, key] = (token, self._clock() + milliseconds / 1000)
        parked = self._lists.get((source, key))
        return Lease(self.progress.epoch(source), parked.deferral if parked else None)

    async def renew(self, source: Source, key: ListKey, token: str, milliseconds: int) -> bool:
        """See `ParkingStore.renew`."""
        await asyncio.sleep(0)
        if self._holder(source, key) != token:
            return False
        self._leases[source, key] = (token, self._clock() + milliseconds / 1000)
        return True

    async def release(self, source: Source, key: ListKey, token: str) -> None:
        """See `ParkingStore.release`."""
        await asyncio.sleep(0)
        if self._holder(source, key) == token:
            del self._leases[source, key]

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
        """See `ParkingStore.postpone`."""
        await asyncio.sleep(0)
        self._check_lease(source, key, token)
        parked = self._lists.get((source, key))
        if parked is not None and parked.deferral is not None:
            now = self._clock()
            since = parked.deferral.since
            parked.deferral = replace(deferral.clipped(), since=since, last_try=now)
            parked.due = now + self._pause(source, pause_seconds, seen)

    async def replace(
        self, source: Source, key: ListKey, token: str, position: Position, document: str
    ) -> None:
        """See `ParkingStore.replace`."""
        await asyncio.sleep(0)
        self._check_lease(source, key, token)
        parked = self._lists.get((source, key))
        if parked and position in parked.entries:
            kind = EntryKind(document[0])
            parked.entries[position] = Entry(position, kind, document[1:])
            parked.due = self._clock()
            if kind is not EntryKind.UNANNOUNCED:
                parked.deferral = None

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
        """See `ParkingStore.finish`."""
        await asyncio.sleep(0)
        self._check_lease(source, key, token)
        # Events from before a rewind are handled again when the hub delivers them again.
        is_new = int(position[:15]) > self.progress.reset_ms(source)
        if is_new and epoch == self.progress.epoch(source):
            self._replayed[source, key] = extended(self._replayed.get((source, key), ""), position)
        if verdict:
            self._verdicts.add((source, verdict))
        parked = self._lists.get((source, key))
        if parked is None:
            return 0
        parked.entries.pop(position, None)
        if not parked.entries:
            del self._lists[source, key]
        return len(parked.entries)

    async def is_stale(self, source: Source, verdict: str) -> bool:
        """See `ParkingStore.is_stale`."""
        await asyncio.sleep(0)
        return (source, verdict) in self._verdicts

    async def forget(self, source: Source, after: Position) -> None:
        """See `ParkingStore.forget`."""
        await asyncio.sleep(0)
        self._replayed = {
            place: at
            for place, at in self._replayed.items()
            if place[0] != source or at.partition("|")[0] <= after
        }

    async def drop_mark(self, source: Source, mark: str) -> bool:
        """See `ParkingStore.drop_mark`."""
        await asyncio.sleep(0)
        if self._marks.get(source) == mark and not self._of(source):
            del self._marks[source]
        return source not in self._marks

    async def mark_overdue(self, source: Source, positions: Sequence[Position]) -> None:
        """See `ParkingStore.mark_overdue`."""
        await asyncio.sleep(0)
        now = self._clock()
        marks = {each: end for each, end in self._overdue.get(source, {}).items() if end > now}
        for position in positions:
            marks.pop(position, None)
            marks[position] = now + OVERDUE_SECONDS
        self._overdue[source] = dict(list(marks.items())[-OVERDUE_MARKS:])

    async def poison_head(self, source: Source, event_id: str) -> None:
        """See `ParkingStore.poison_head`."""
        await asyncio.sleep(0)
        self._poison_heads[source] = event_id

    def openings(self, source: Source) -> tuple[str, ...]:
        """Return a partition's openings, without a claim."""
        return tuple(self._openings.get(source, ()))

    def close_opening(self, source: Source, process: str) -> None:
        """Remove a process's opening; see `processing.crashes.store.CrashStore.close`."""
        openings = self._openings.get(source, [])
        self._openings[source] = [each for each in openings if each.split(" ")[1] != process]

    def _opened(self, source: Source, progress: Progress, opening: str) -> tuple[str, ...]:
        """Record an opening, and return those of other processes whose batch is unfinished."""
        known = self._openings.get(source, [])
        if not opening:
            return tuple(known)
        watermark = -1 if progress.watermark is None else progress.watermark.sequence_number
        others = [
            line
            for line, (token, process, _, last, *_) in [(each, each.split(" ")) for each in known]
            if process != opening.split(" ", maxsplit=1)[0]
            and int(last) > watermark
            and int(token) >= self.progress.since(source)
        ][1 - OPENINGS :]
        self._openings[source] = [*others, f"{progress.owner} {opening}"]
        return tuple(others)

    def _replayed_among(self, source: Source, keys: Collection[ListKey]) -> dict[ListKey, Replayed]:
        if not self._replayed:
            return {}
        return {key: self._replayed[source, key] for key in keys if (source, key) in self._replayed}

    def _of(self, source: Source) -> dict[ListKey, _List]:
        return {key: each for (known, key), each in self._lists.items() if known == source}

    def _due(self, source: Source, most: int, generation: int) -> list[ListKey]:
        lists = {key: each for key, each in self._of(source).items() if each.deferral is not None}
        if generation > self._generations.get(source, 0):
            self._generations[source] = generation
            for each in lists.values():
                each.due = 0.0
        now = self._clock()
        due = [(each.due, str(key), key) for key, each in lists.items() if each.due <= now]
        return [key for *_, key in sorted(due, key=lambda each: each[:2])][:most]

    def _check_writer(self, source: Source, writing: WritingAs) -> None:
        if self.progress.owner(source) != writing.owner:
            raise claim_lost(source)
        if writing.mark and self._marks.get(source, "") != writing.mark:
            if self._marks.get(source) or not writing.creates:
                raise mark_lost(source)
            self._marks[source] = writing.mark

    def _pause(self, source: Source, seconds: float, seen: Seen | None) -> float:
        """Return the pause of a key, which is short if its waking is over."""
        if seen is None:
            return seconds
        woken = self._wakings.get((source, seen.dependency))
        return min(seconds, WOKEN_SECONDS) if seen.is_late(woken and woken[0]) else seconds

    def _full_for(
        self, source: Source, parked: _List | None, document: str, *, defers: bool = False
    ) -> ParkingFullError | None:
        """Return the error if a document does not fit; `parked` is its list, if there is one."""
        most, most_events, most_bytes = self._limits
        lists = self._of(source).values()
        if parked is not None and len(parked.entries) >= most:
            return parked_list_full(source, most)
        joins_deferred = defers or (parked is not None and parked.deferral is not None)
        if joins_deferred and sum(len(each.entries) for each in lists) >= most_events:
            what = f"{most_events} events"
            return partition_full(source, what, "PROCESSING_DEFERRED_EVENTS_MAX")
        if sum(each.size for each in lists) + len(document.encode()) > most_bytes:
            what = f"{most_bytes // 2**20} MB of events"
            return partition_full(source, what, "PROCESSING_PARKED_MEGABYTES_MAX")
        return None

    def _holder(self, source: Source, key: ListKey) -> str | None:
        token, until = self._leases.get((source, key), (None, 0.0))
        return token if self._clock() < until else None

    def _check_lease(self, source: Source, key: ListKey, token: str) -> None:
        if self._holder(source, key) != token:
            raise lease_lost(source)
