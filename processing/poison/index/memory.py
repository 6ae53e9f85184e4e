"""The in-memory index of the poison queue, for tests, and for tools while Redis is away."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from processing.identity import Identity
from processing.poison.index.entry import Cause, IndexEntry
from processing.poison.index.entry_bytes import StoredEntry, id_prefix, read_entry
from processing.poison.index.index import (
    COMPARE_SECONDS,
    DIFFERS_SECONDS,
    DIFFERS_TIMES,
    HELD_SECONDS,
    PAGE_ENTRIES,
    IndexState,
    Page,
)


@dataclass(slots=True)
class _Kept:
    entry: IndexEntry
    size: int
    generation: str
    holder: str


class MemoryPoisonIndex:
    """An index in memory; see `PoisonIndex`.

    Args:
        own: the app; entries of other apps are ignored.
        budget_bytes: greatest size of all entries; above it the long texts are left out.
        clock: returns seconds since 1970.
    """

    def __init__(
        self,
        own: Identity,
        *,
        budget_bytes: int = 64 * 2**20,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._own = own
        self._budget = budget_bytes
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._size = 0
        self._state = IndexState()
        self._generation = ""
        self._began = 0.0
        self._compared_until = 0.0
        self._seen = 0
        self._differs_since: float | None = None

    async def put(self, entries: Iterable[IndexEntry], *, token: str = "") -> int:
        """See `PoisonIndex.put`."""
        await asyncio.sleep(0)
        new = 0
        for entry in entries:
            if entry.source.identity != self._own:
                continue
            old = self._kept.get(entry.name)
            stored = StoredEntry.of(entry)
            self._size -= old.size if old else 0
            fits = stored.whole and self._size + len(stored.whole) <= self._budget
            data = stored.whole if fits else stored.short
            found = read_entry(entry.name, entry.receipt, data)
            assert found is not None  # noqa: S101 - just written
            self._size += len(data)
            new += old is None or old.generation != self._generation
            self._kept[entry.name] = _Kept(found, len(data), self._generation, token)
        self._seen += new
        return new

    async def set_receipts(self, receipts: Mapping[str, str], *, token: str = "") -> None:
        """See `PoisonIndex.set_receipts`."""
        await asyncio.sleep(0)
        for name, receipt in receipts.items():
            kept = self._kept.get(name)
            if kept is not None and (not token or kept.holder == token):
                kept.holder = ""
                kept.entry = kept.entry.with_receipt(receipt)

    async def remove(self, names: Iterable[str]) -> None:
        """See `PoisonIndex.remove`."""
        await asyncio.sleep(0)
        for name in names:
            if kept := self._kept.pop(name, None):
                self._size -= kept.size
                self._seen -= kept.generation == self._generation

    async def page(self, after: str | None = None, most: int = PAGE_ENTRIES) -> Page:
        """See `PoisonIndex.page`."""
        await asyncio.sleep(0)
        return _page(self._entries(), lambda entry: entry.place, after, most)

    async def of_key(
        self, key: str | None, after: str | None = None, most: int = PAGE_ENTRIES
    ) -> Page:
        """See `PoisonIndex.of_key`."""
        await asyncio.sleep(0)
        of_key = [entry for entry in self._entries() if entry.message.key == key]
        return _page(of_key, lambda entry: entry.place_in_key, after, most)

    async def of_id(self, text: str) -> Sequence[IndexEntry]:
        """See `PoisonIndex.of_id`."""
        await asyncio.sleep(0)
        prefix = id_prefix(text)
        found = [each for each in self._entries() if id_prefix(each.message.id).startswith(prefix)]
        return found[:PAGE_ENTRIES]

    async def causes(self) -> Mapping[Cause, int]:
        """See `PoisonIndex.causes`."""
        await asyncio.sleep(0)
        return Counter(entry.cause for entry in self._entries())

    async def state(self) -> IndexState:
        """See `PoisonIndex.state`."""
        await asyncio.sleep(0)
        comparing = self._seen if self._is_comparing() else None
        return replace(self._state, entries=len(self._kept), comparing=comparing)

    async def look(self, count: int) -> bool:
        """See `PoisonIndex.look`."""
        state, now = await self.state(), self._clock()
        if state.comparing is not None:
            return False
        if state.built_at is None:
            return True
        if count == state.total:
            self._differs_since = None
            return state.held > 0 and now - state.built_at >= HELD_SECONDS
        if self._differs_since is None:
            self._differs_since = now
        wait = max(DIFFERS_SECONDS, DIFFERS_TIMES * (state.built_at - self._began))
        return now - self._differs_since >= wait

    async def begin(self) -> str | None:
        """See `PoisonIndex.begin`."""
        await asyncio.sleep(0)
        if self._is_comparing():
            return None
        self._generation = secrets.token_hex(8)
        self._began = self._clock()
        self._compared_until = self._clock() + COMPARE_SECONDS
        self._seen = 0
        return self._generation

    async def renew(self, token: str) -> bool:
        """See `PoisonIndex.renew`."""
        await asyncio.sleep(0)
        if token != self._generation or not self._compared_until:
            return False
        self._compared_until = self._clock() + COMPARE_SECONDS
        return True

    async def held(self, token: str, after: str | None = None, most: int = PAGE_ENTRIES) -> Page:
        """See `PoisonIndex.held`."""
        await asyncio.sleep(0)
        held = [each for each in self._entries() if self._kept[each.name].holder == token]
        return _page(held, lambda entry: entry.place, after, most)

    async def unseen(self, token: str, after: str | None = None, most: int = PAGE_ENTRIES) -> Page:
        """See `PoisonIndex.unseen`."""
        await asyncio.sleep(0)
        unseen = [each for each in self._entries() if self._kept[each.name].generation != token]
        return _page(unseen, lambda entry: entry.place, after, most)

    async def keep(self, token: str, names: Iterable[str]) -> None:
        """See `PoisonIndex.keep`."""
        await asyncio.sleep(0)
        for name in names:
            kept = self._kept.get(name)
            if token == self._generation and kept and kept.generation != token:
                kept.generation = token
                self._seen += 1

    async def end(
        self, token: str, *, of_others: Mapping[str, int], unreadable: int = 0, held: int = 0
    ) -> int | None:
        """See `PoisonIndex.end`."""
        await asyncio.sleep(0)
        if token != self._generation:
            return None
        unseen = [name for name, kept in self._kept.items() if kept.generation != token]
        await self.remove(unseen)
        self._state = IndexState(
            built_at=self._clock(), of_others=dict(of_others), unreadable=unreadable, held=held
        )
        self._compared_until = 0.0
        self._differs_since = None
        return len(unseen)

    async def abandon(self, token: str) -> None:
        """See `PoisonIndex.abandon`."""
        await asyncio.sleep(0)
        if token == self._generation:
            self._compared_until = 0.0

    def lose(self) -> None:
        """Lose everything, as an emptied Redis does."""
        self._kept.clear()
        self._size = 0
        self._state = IndexState()
        self._generation = ""
        self._compared_until = 0.0
        self._differs_since = None

    def _is_comparing(self) -> bool:
        return self._clock() < self._compared_until

    def _entries(self) -> list[IndexEntry]:
        return sorted((kept.entry for kept in self._kept.values()), key=lambda each: each.place)


def _page(
    entries: Iterable[IndexEntry],
    place: Callable[[IndexEntry], str],
    after: str | None,
    most: int,
) -> Page:
    """Return the entries behind a place, in the order of their places."""
    behind = sorted((each for each in entries if after is None or place(each) > after), key=place)
    shown = behind[:most]
    return Page(shown, place(shown[-1]) if len(behind) > most else None)
