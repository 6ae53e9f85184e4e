"""The marks of an instance's partitions: noticing that Redis has lost parked events."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from functools import reduce
from itertools import batched
from secrets import token_hex

from processing.errors import StorageUnavailableError
from processing.event import Event
from processing.identity import Source
from processing.parking.marks import (
    MarkConflictError,
    MarkStore,
    Oldest,
    ParkingMark,
    StoredMark,
)
from processing.parking.store import PAGE_LISTS, Claim, ParkingStore, WritingAs, claim_lost

MOST_CONFLICTS = 10
"""Number of conflicts in a row after which a write of a mark counts as failed."""


@dataclass(slots=True)
class _Known:
    """An instance's knowledge of one partition, as of the instance's latest claim.

    Attributes:
        claim: token of the latest claim of this instance.
        token: the token in Redis, or "".
        empty: whether the partition had no list at the claim, and this instance has parked nothing
            since.
        stored: the mark as this instance has read or written it last; None: there was none.
    """

    claim: int
    token: str
    empty: bool
    stored: StoredMark | None = None

    def includes(self, bound: Oldest) -> bool:
        """Return whether events above a bound may be parked without another write of the mark.

        The first event of an empty partition always needs a write. The bound can rise, and no
        earlier owner can raise the bound any more after the write.
        """
        return not self.empty and self.stored is not None and self.stored.mark.oldest.covers(bound)


class PartitionMarks:
    """The marks of the partitions of one instance.

    Args:
        marks: the marks outside Redis.
        parking: the parked lists, with the tokens.
    """

    def __init__(self, marks: MarkStore, parking: ParkingStore) -> None:
        self._marks = marks
        self._parking = parking
        self._known: dict[Source, _Known] = {}
        self._locks: defaultdict[Source, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def check(self, source: Source, claim: Claim) -> None:
        """Compare the token of a new claim with the partition's mark.

        The mark is not read if this instance has compared them before, Redis still has that token,
        and no other instance has claimed the partition since then.

        Raises:
            ParkedEventsLostError: Redis has lost the partition's parked events.
            OwnershipLostError: this instance has made a later claim.
            StorageUnavailableError: the mark cannot be read, or lists without a mark cannot get
                one.
        """
        async with self._locks[source]:
            before = self._known.get(source)
            if before is not None and before.claim > claim.owner:
                raise claim_lost(source)
            known = _Known(claim.owner, claim.mark, claim.events == 0)
            if before and (before.claim, before.token) == (claim.previous, claim.mark):
                known.stored = before.stored
            else:
                known.stored = await self._marks.read(source)
                if known.stored is not None:
                    _compare(claim, known.stored.mark, before)
            if claim.events and not (claim.mark and known.stored):
                # The lists of a version without marks, or a mark that was deleted.
                bound = await self._bound_of_lists(source)
                if bound is not None:
                    known.stored = await self._written(source, claim, known, bound)
            self._known[source] = known

    async def writing_as(self, source: Source, claim: Claim, oldest: Event) -> WritingAs:
        """Return the right to park events from `oldest` on, after the mark includes them.

        The token is placed in Redis before the mark is written, and the mark is written before an
        event is parked. After a crash between two of these steps, nothing is missing.

        Raises:
            OwnershipLostError: another instance has claimed the partition.
            ParkedEventsLostError: Redis has another token than the mark.
            StorageUnavailableError: the mark or the token cannot be written.
        """
        async with self._locks[source]:
            known = self._known.get(source)
            if known is None or known.claim != claim.owner:
                raise claim_lost(source)
            bound = Oldest(oldest.sequence_number, oldest.enqueued_ms, oldest.offset)
            if not known.includes(bound):
                known.stored = await self._written(source, claim, known, bound)
                known.empty = False
            return WritingAs(claim.owner, known.token)

    async def _written(
        self, source: Source, claim: Claim, known: _Known, bound: Oldest
    ) -> StoredMark:
        """Place the token, and write a mark that includes the bound."""
        stored = known.stored
        for _ in range(MOST_CONFLICTS):
            mark = _valid(claim, known, stored)
            if not known.token:
                # A token that stands in the mark is used again: with another token, a crash before
                # the next write would look like a loss.
                token = mark.token if mark else token_hex(8)
                writing = WritingAs(claim.owner, token, creates=True)
                await self._parking.park(writing, source, None, [])
                known.token = token
            lists = None if mark or known.empty else await self._bound_of_lists(source)
            oldest = bound.lowered(lists) if lists else bound
            if mark and not known.empty:
                oldest = oldest.lowered(mark.oldest)
            new = ParkingMark(source, known.token, oldest, claim.owner)
            try:
                return await self._marks.write(new, stored.etag if stored else None)
            except MarkConflictError:
                stored = await self._marks.read(source)
        raise StorageUnavailableError(
            f"the mark of partition {source} changed {MOST_CONFLICTS} times while it was written"
        )

    async def _bound_of_lists(self, source: Source) -> Oldest | None:
        """Return the bound of the partition's lists, or None without lists."""
        bounds: list[Oldest] = []
        for names in batched(await self._parking.names(source), PAGE_LISTS):
            for head in await self._parking.heads(source, names):
                if head.position:
                    milliseconds, _, number = head.position.partition(":")
                    bounds.append(Oldest(int(number), int(milliseconds)))
        return reduce(Oldest.lowered, bounds) if bounds else None


def _compare(claim: Claim, mark: ParkingMark, before: _Known | None) -> None:
    """Raise `ParkedEventsLostError` if the claim shows that Redis has lost parked events.

    An owner that claims a partition without lists writes the mark before it parks an event. So if
    the latest claim of this instance found no list, and the mark is not later than that claim,
    Redis had no list to lose.
    """
    was_empty = before is not None and before.empty and mark.owner <= before.claim
    if claim.mark != mark.token and (claim.mark or not was_empty):
        raise mark.lost


def _valid(claim: Claim, known: _Known, stored: StoredMark | None) -> ParkingMark | None:
    """Return the stored mark if it counts; raise if this claim must not replace the mark."""
    if stored is None:
        return None
    if stored.mark.owner > claim.owner:
        raise claim_lost(stored.mark.source)
    if not known.token or stored.mark.token == known.token:
        return stored.mark
    if claim.mark:
        raise stored.mark.lost
    # The claim found no mark that counts. An earlier owner has written this mark since then, and
    # could park nothing with it.
    return None
