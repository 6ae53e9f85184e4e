"""The poison messages of one key, in the order of its events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from processing.errors import ProcessingError
from processing.identity import Source
from processing.parking.event import position_of
from processing.poison.index.entry import IndexEntry
from processing.poison.index.index import PoisonIndex
from processing.poison.queue import Received
from processing.redrive.held_messages import HeldMessages
from processing.redrive.indexed_reader import IndexedReader
from processing.redrive.stopping import Stopping


class KeyIncompleteError(ProcessingError):
    """An earlier message of a key is not available, so that the key's order could not be kept.

    Somebody else holds the message, or the index has only a part of it, or an old receipt. In the
    last two cases the message must be received.
    """


@dataclass(slots=True)
class KeyMessages:
    """The messages of one key: those that the redrive holds, and those that the index names.

    Attributes:
        held: the messages that the redrive holds.
        received: those of this key.
        reader: takes what is not held yet.
        stopping: ends the taking.
        index: names further messages; None: there are no others.
        source, key: the partition and the key.
        is_whole: whether all messages of the index are replayed; otherwise only those that are not
            newer than the newest one in `received`.
        follow: whether the index has later messages; known after `pages`.
        taken: the messages that were taken through the index.
    """

    held: HeldMessages
    received: Sequence[Received]
    reader: IndexedReader
    stopping: Stopping
    index: PoisonIndex | None = None
    source: Source | None = None
    key: str | None = None
    is_whole: bool = False
    follow: bool = False
    taken: list[Received] = field(default_factory=list)

    async def pages(self) -> AsyncIterator[list[Received]]:
        """Return the messages in order; all messages of one event are in one page.

        After a stop there are no further pages.

        Raises:
            KeyIncompleteError: an earlier message is not available.
            StorageUnavailableError: the queue or the index cannot be read.
        """
        waiting = {each.name: each for each in self.received}
        after: str | None = None if self.source is None else f"{self.source.partition}/"
        while self.index is not None:
            page = await self.index.of_key(self.key, after)
            entries = [each for each in page.entries if self._is_selected(each)]
            for taken in await self._take([each for each in entries if each.name not in waiting]):
                waiting[taken.name] = taken
            if self.stopping:
                return
            is_last = page.after is None or len(entries) < len(page.entries)
            if is_last:
                break
            after = page.after
            if not entries:
                continue
            last = _position(entries[-1])
            passed = sorted((each for each in waiting.values() if _at(each) < last), key=_at)
            for each in passed:
                del waiting[each.name]
            if passed:
                yield passed
        yield sorted(waiting.values(), key=_at)

    def _is_selected(self, entry: IndexEntry) -> bool:
        if entry.source != self.source:
            return False
        if self.is_whole or _position(entry) <= max(map(_at, self.received), default=""):
            return True
        self.follow = self.follow or not self.held.knows(entry.name)
        return False

    async def _take(self, entries: Sequence[IndexEntry]) -> list[Received]:
        """Hold messages; those that the redrive has tried before are left out."""
        tried = self.reader.lost  # and could not be removed
        missing = [
            each for each in entries if not self.held.knows(each.name) and each.name not in tried
        ]
        taken: list[Received] = []

        def note(found: Received | None) -> None:
            if found is not None:
                self.held.hold(found)
                taken.append(found)

        whole = [each for each in missing if each.is_whole]
        await self.reader.take_all(whole, note, lambda: not self.stopping)
        self.taken += taken
        if (left := len(missing) - len(taken)) and not self.stopping:
            raise KeyIncompleteError(f"{left} earlier messages of the key are not available")
        return taken


def _at(received: Received) -> str:
    return position_of(received.message)


def _position(entry: IndexEntry) -> str:
    return position_of(entry.message)
