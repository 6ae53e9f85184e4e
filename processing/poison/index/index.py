"""The index of an app's poison messages; the queue stays the truth.

A queue can only be received from: nobody can list, count or select its messages without holding
all of them. So the app keeps an index in Redis of what it has put into the queue. The index may be
wrong: Redis may have been away or emptied, and other programs may have changed the queue. Then the
index is built again from the queue. Nothing is decided by the index alone: a message is handled
only after the queue has confirmed its receipt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from processing.poison.index.entry import Cause, IndexEntry

PAGE_ENTRIES = 200
DIFFERS_SECONDS = 30.0
"""Time for which the index and the queue must differ in number before they are compared."""
DIFFERS_TIMES = 5
"""Number of durations of the last comparison for which the numbers of messages must differ."""
HELD_SECONDS = 120.0
"""Time after which messages that somebody else held are looked for again: a usual visibility
timeout."""
COMPARE_SECONDS = 30.0
"""Time after which a comparison that is not renewed counts as abandoned."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, and where the next page begins.

    Attributes:
        entries: the entries, in order.
        after: the cursor of the next page; None: this is the last one.
    """

    entries: Sequence[IndexEntry]
    after: str | None = None


@dataclass(frozen=True, slots=True)
class IndexState:
    """The state of the index.

    Attributes:
        entries: number of the app's own messages in the index.
        built_at: when the index was last compared with the whole queue, seconds since 1970 by the
            store's clock; None: the index was lost or never built, so messages may be missing.
        of_others: number of messages of each other app that the comparison found, by its name.
        unreadable: number of messages that it could not read.
        held: number of messages that it did not see, because somebody else held them.
        comparing: number of messages that a running comparison has found, without those that were
            removed since; None: none is running.
    """

    entries: int = 0
    built_at: float | None = None
    of_others: Mapping[str, int] = field(default_factory=dict)
    unreadable: int = 0
    held: int = 0
    comparing: int | None = None

    @property
    def total(self) -> int:
        """The number of messages that the queue has if nobody else changed it."""
        return self.entries + sum(self.of_others.values()) + self.unreadable + self.held


class PoisonIndex(Protocol):
    """An index of one app's poison messages. Entries of other apps are ignored.

    Each method raises `StorageUnavailableError` if the store does not answer, or takes no writes.
    """

    async def put(self, entries: Iterable[IndexEntry], *, token: str = "") -> int:
        """Add entries, or replace those with the same names.

        Args:
            entries: the entries.
            token: the comparison that holds the messages, or "".

        Returns:
            The number of entries that the index did not have, or that the latest comparison had
            not put yet.
        """
        ...

    async def set_receipts(self, receipts: Mapping[str, str], *, token: str = "") -> None:
        """Replace the receipts of entries, by their names; unknown names are ignored.

        Args:
            receipts: the new receipts.
            token: a comparison: only the entries whose messages it still holds are changed.
        """
        ...

    async def remove(self, names: Iterable[str]) -> None:
        """Remove entries by their names; unknown names are ignored."""
        ...

    async def page(self, after: str | None = None, most: int = PAGE_ENTRIES) -> Page:
        """Return entries in the order in which the hub enqueued the events, oldest first.

        Entries that are added or removed between two pages may be missed or shown, but no other
        entry is missed or shown twice. A page may have fewer than `most` entries and still not be
        the last one.
        """
        ...

    async def of_key(
        self, key: str | None, after: str | None = None, most: int = PAGE_ENTRIES
    ) -> Page:
        """Return the entries of a key, by partition and then in the order of the events."""
        ...

    async def of_id(self, text: str) -> Sequence[IndexEntry]:
        """Return the entries whose event has the id (see `has_id`), at most `PAGE_ENTRIES`."""
        ...

    async def causes(self) -> Mapping[Cause, int]:
        """Return the number of entries by cause."""
        ...

    async def state(self) -> IndexState:
        """Return what is known of the index."""
        ...

    async def look(self, count: int) -> bool:
        """Return whether a comparison is due; record since when the numbers of messages differ.

        A comparison is due if there was none, if the queue's number of messages has differed from
        the index's for `DIFFERS_SECONDS` and for `DIFFERS_TIMES` the time that the last comparison
        took, or if somebody held messages `HELD_SECONDS` ago.

        Args:
            count: the queue's approximate number of messages.
        """
        ...

    async def begin(self) -> str | None:
        """Begin a comparison with the whole queue, and return its token.

        Returns:
            None: another comparison is running.
        """
        ...

    async def renew(self, token: str) -> bool:
        """Renew a comparison for `COMPARE_SECONDS`; False: it has ended, or another began."""
        ...

    async def held(self, token: str, after: str | None = None, most: int = PAGE_ENTRIES) -> Page:
        """Return entries whose messages a comparison still holds; see `page`.

        Nobody else has put them or replaced their receipts since the comparison put them.
        """
        ...

    async def unseen(self, token: str, after: str | None = None, most: int = PAGE_ENTRIES) -> Page:
        """Return entries that were not put since the comparison began; see `page`."""
        ...

    async def keep(self, token: str, names: Iterable[str]) -> None:
        """Keep entries at the end of a comparison, unchanged; unknown names are ignored."""
        ...

    async def end(
        self, token: str, *, of_others: Mapping[str, int], unreadable: int = 0, held: int = 0
    ) -> int | None:
        """End a comparison: remove the entries that were not put since it began.

        Args:
            token: the comparison's token.
            of_others: number of messages of each other app; see `IndexState`.
            unreadable: number of messages that could not be read.
            held: number of messages that somebody else held.

        Returns:
            The number of removed entries. None: another comparison has begun since, or the
            index was lost; nothing changes.
        """
        ...

    async def abandon(self, token: str) -> None:
        """End a comparison early; the earlier state stays, and another one may begin at once."""
        ...
