"""The comparison of the index with the poison queue, made when it is due."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from processing.identity import Identity
from processing.poison.comparison_run import ComparisonRun, count_of
from processing.poison.index.index import IndexState, PoisonIndex
from processing.poison.queue import PoisonReader

WAIT_SECONDS = 0.5
"""Pause between two polls of a comparison that another process runs."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The queue and its index.

    Attributes:
        count: the queue's approximate number of messages, also of those that somebody holds.
        state: what is known of the index.
    """

    count: int
    state: IndexState

    @property
    def not_indexed(self) -> int:
        """The number of messages that the index does not know, except the held ones."""
        return max(0, self.count - self.state.total)

    @property
    def gone(self) -> int:
        """The number of messages that the queue does not have any more; never too high.

        The service may count messages that have just been deleted.
        """
        return max(0, self.state.total - self.count)


class Comparison:
    """Compares the index with the queue, if that is due.

    Args:
        index: the index.
        readers: returns a new reader of the queue of each storage account; see `IndexEntry.where`.
        own: the app; messages of other apps are only counted.
    """

    def __init__(
        self,
        index: PoisonIndex,
        readers: Callable[[], Awaitable[Mapping[str, PoisonReader]]],
        own: Identity,
    ) -> None:
        self._index = index
        self._readers = readers
        self._own = own

    def into(self, index: PoisonIndex) -> Comparison:
        """Return a comparison of another index with the same queue."""
        return Comparison(index, self._readers, self._own)

    async def ensure(
        self,
        progress: Callable[[int, int], None] = lambda _seen, _total: None,
        *,
        fresh: bool = False,
    ) -> Compared:
        """Compare if a comparison is due, or wait for the first one of another process.

        Args:
            progress: called with the numbers of messages that were seen, and of all.
            fresh: compare in any case.

        Raises:
            StorageUnavailableError: the queue or the index does not answer, or the index takes no
                writes. What a comparison held is put back, or reappears by itself.
        """
        readers = await self._readers()
        count = await count_of(readers)
        waited = await self._wait(count, progress, fresh=fresh)
        if (fresh and not waited) or await self._index.look(count):
            token = await self._index.begin()
            if token is not None:
                run = ComparisonRun(self._index, readers, self._own, token, progress)
                await run.run(count)
                count = await count_of(readers)
            else:
                await self._wait(count, progress, fresh=True)
        return Compared(count, await self._index.state())

    async def _wait(self, count: int, progress: Callable[[int, int], None], *, fresh: bool) -> bool:
        """Wait for a comparison of another process, unless an earlier result can be shown."""
        waited = False
        while True:
            state = await self._index.state()
            if state.comparing is None or not (fresh or state.built_at is None):
                return waited
            progress(state.comparing, max(count, state.comparing))
            await asyncio.sleep(WAIT_SECONDS)
            waited = True
