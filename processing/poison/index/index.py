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
    """What is known of the index.

    Attributes:
        entries: number of the app's own messages in the index.
        built_at: when the index was last compared with the whole queue, seconds since 1970 by the
            store's clock; None: the index was lost or never built, so messages may be missing.
        of_others: number of messages of each other app that the comparison found, by its name.
        unreadable: number of messages that it could not read.
    """

    entries: int = 0
    built_at: float | None = None
    of_others: Mapping[str, int] = field(default_factory=dict)
    unreadable: int = 0

    @property
    def total(self) -> int:
        """The number of messages that the queue has if nobody else changed it."""
        return self.entries + sum(self.of_others.values()) + self.unreadable


class PoisonIndex(Protocol):
    """An index of one app's poison messages. Entries of other apps are ignored.

    Each method raises `StorageUnavailableError` if the store does not answer.
    """

    async def put(self, entries: Iterable[IndexEntry]) -> None:
        """Add entries, or replace those with the same names."""
        ...

    async def remove(self, names: Iterable[str]) -> None:
        """Remove entries by their names; unknown names are ignored."""
        ...

    async def page(self, after: str | None = None, most: int = PAGE_ENTRIES) -> Page:
        """Return entries in the order in which the hub enqueued the events, oldest first.

        Entries that are added or removed meanwhile may be missed or shown, but no other entry is
        missed or shown twice.
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

    async def named(self, names: Iterable[str]) -> Mapping[str, IndexEntry]:
        """Return the entries with these names; unknown names are left out."""
        ...

    async def causes(self) -> Mapping[Cause, int]:
        """Return the number of entries by cause."""
        ...

    async def state(self) -> IndexState:
        """Return what is known of the index."""
        ...

    async def begin(self) -> str:
        """Begin a comparison with the whole queue, and return its token."""
        ...

    async def end(self, token: str, of_others: Mapping[str, int], unreadable: int) -> int:
        """End a comparison: remove the entries that were not put since it began.

        Returns:
            The number of removed entries. If another comparison began meanwhile, nothing changes.
        """
        ...
