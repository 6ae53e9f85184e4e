"""The listing of parked and deferred keys: why each key waits, and when it continues."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import batched
from typing import Self

from processing.handlers.raised import describe, type_name
from processing.identity import Source
from processing.parking.event import ListKey, Lone, event_key
from processing.parking.names import ListName, from_cursor
from processing.parking.store import PAGE_LISTS, EntryKind, ListHead, ParkedKey, ParkingStore
from processing.poison.message import PoisonMessage
from processing.redrive.selection import id_at

POISON = "poison"
INTERRUPTED = "redrive not finished"
"""The reasons why a key is parked; a deferred key has a `DeferralReason`."""
UNREADABLE = "the list's first entry in Redis is missing or cannot be read"
PAGE_KEYS = 200
"""Keys of a page; the message of a poisoned event may have 48 KB."""


class ListState(StrEnum):
    """The state of a list: the app continues a deferred key, an operator a parked key."""

    DEFERRED = "deferred"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key with a parked list, as operators see it; all times are by the store's clock.

    Attributes:
        source: the partition.
        key: the key, or None.
        is_lone: whether the list holds one event without a key.
        state: parked or deferred.
        since: time at which the list was created, seconds since 1970.
        entries: number of events in the list.
        event: id of the first event, or "" if Redis has lost the list's entries.
        reason: why the first event waits.
        dependency: the dependency that failed, or "".
        attempts: failed attempts at the first event.
        redrives: redrives in which the first event failed.
        due: time of the next replay, seconds since 1970; None: the key waits for an operator.
        error: type and message of the last error, or "".
    """

    source: Source
    key: str | None
    is_lone: bool
    state: ListState
    since: float
    entries: int
    event: str = ""
    reason: str = INTERRUPTED
    dependency: str = ""
    attempts: int = 0
    redrives: int = 0
    due: float | None = None
    error: str = ""

    @property
    def behind(self) -> int:
        """The number of events behind the first one."""
        return max(0, self.entries - 1)


@dataclass(frozen=True, slots=True)
class ListedPage:
    """Some keys of a listing.

    Attributes:
        keys: the keys, the one that waits longest first.
        after: where the next page begins; None: this is the last page.
    """

    keys: list[ListedKey]
    after: str | None = None


class KeyListing:
    """The keys with a list at one time, those that wait longest first, page by page.

    The names of all lists are read at once, and the rest of a list is read with its page. The
    partitions are read one after the other, so that the first timeout of a silent store ends the
    listing.

    Args:
        store: the parked lists.
        names: the names of the lists, with the partition of each, in order.
    """

    def __init__(self, store: ParkingStore, names: list[tuple[ListName, Source]]) -> None:
        self._store = store
        self._names = names

    @classmethod
    async def read(cls, store: ParkingStore, partition: str | None = None) -> Self:
        """Return the listing of a partition, or of all partitions.

        Raises:
            StorageUnavailableError: the store did not answer.
        """
        names = [
            (name, source)
            for source in await store.sources()
            if partition in (None, source.partition)
            for name in await store.names(source)
        ]
        return cls(store, sorted(names, key=lambda each: each[0]))

    @property
    def total(self) -> int:
        """The number of keys with a list."""
        return len(self._names)

    async def page(
        self, after: str | None = None, most: int = PAGE_KEYS, *, dependency: str = ""
    ) -> ListedPage:
        """Return a page; keys that were released since the names were read are left out.

        Args:
            after: where the page begins, as an earlier page says; None: at the first key.
            most: most keys of the page.
            dependency: only keys that wait for this dependency; then a page may have few keys, or
                none, although other pages follow, because it reads at most `PAGE_KEYS` lists.

        Raises:
            StorageUnavailableError: the store did not answer.
            ValueError: `after` is not what an earlier page says.
        """
        start = 0
        if after is not None:
            start = bisect_right(self._names, from_cursor(after), key=lambda each: each[0])
        some = self._names[start : start + (PAGE_KEYS if dependency else most)]
        by_source: dict[Source, list[ListName]] = {}
        for name, source in some:
            by_source.setdefault(source, []).append(name)
        heads: dict[tuple[Source, ListKey], ListHead] = {}
        head: ListHead | None
        for source, names in by_source.items():
            for part in batched(names, PAGE_LISTS):
                for head in await self._store.heads(source, part, documents=True):
                    heads[source, head.parked.key] = head
        found: list[ListedKey] = []
        read = 0
        for read, (name, source) in enumerate(some, 1):  # noqa: B007 - used below
            head = heads.get((source, name.key))
            if head is not None and _waits_for(head.parked, dependency):
                found.append(_listed(head))
                if len(found) == most:
                    break
        is_last = start + read >= len(self._names)
        return ListedPage(found, None if is_last else some[read - 1][0].cursor)


def _waits_for(parked: ParkedKey, dependency: str) -> bool:
    return not dependency or (
        parked.deferral is not None and parked.deferral.dependency == dependency
    )


def _listed(head: ListHead) -> ListedKey:
    parked = head.parked
    deferral = parked.deferral
    found = ListedKey(
        parked.source,
        event_key(parked.key),
        isinstance(parked.key, Lone),
        ListState.PARKED if deferral is None else ListState.DEFERRED,
        parked.since,
        parked.entries,
        event=id_at(parked.source, head.position) if head.position else "",
    )
    if deferral is not None:
        return replace(
            found,
            reason=deferral.reason,
            dependency=deferral.dependency,
            attempts=deferral.attempts,
            due=parked.due,
            error=deferral.error,
        )
    if head.kind is None:
        return replace(found, error=UNREADABLE)
    if head.kind is EntryKind.EVENT:
        return found
    try:
        message = PoisonMessage.from_json(head.document)
    except ValueError as error:
        # The other keys are listed, too.
        return replace(found, reason=POISON, error=f"{type_name(error)}: {describe(error)}")
    return replace(
        found,
        reason=POISON,
        attempts=message.attempts,
        redrives=message.redrives,
        error=f"{message.error.type.rpartition('.')[2]}: {message.error.message}",
    )
