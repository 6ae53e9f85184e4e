"""One comparison of the index with the whole poison queue.

Only receiving a message shows it, so the comparison holds all messages until it has seen the last
one. Each page goes to the index at once, so that a long queue needs no memory here. It takes a call
to put one message back, so a long queue is not put back: its messages reappear when their timeouts
expire. Their receipts stay valid.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress

from processing.errors import StorageUnavailableError
from processing.identity import Identity
from processing.poison.hold_clock import hold_time
from processing.poison.index.entry import IndexEntry
from processing.poison.index.index import COMPARE_SECONDS, PoisonIndex
from processing.poison.other_apps import is_own
from processing.poison.probing import is_gone
from processing.poison.queue import PoisonReader, Received
from processing.poison.side_by_side import AT_ONCE, side_by_side, with_late_answers

logger = logging.getLogger(__name__)

FIRST_HOLD_SECONDS = 10.0
"""Visibility timeout of a message while the speed of reading is unknown."""
MARGIN_SECONDS = 10.0
MARGIN = 1.2
MOST_HOLD_SECONDS = 600.0
PAGE = 32
"""Number of messages that one call receives; the service's limit."""
GIVE_UP_SECONDS = 1.0
"""Time in which an interrupted comparison puts messages back and writes their receipts."""
PUT_BACK_SECONDS = 3.0
"""Time in which a finished comparison puts messages back; nobody should wait for more."""
MOST_REPEATS = 3 * AT_ONCE
"""Number of successive pages without a new message after which the whole queue was seen."""


class ComparisonRun:
    """One comparison of the index with the queue.

    Args:
        index: the index.
        readers: a reader of the queue of each storage account; see `IndexEntry.where`.
        own: the app.
        token: the comparison's token; see `PoisonIndex.begin`.
        progress: called with the numbers of messages that were seen, and of all.
    """

    def __init__(
        self,
        index: PoisonIndex,
        readers: Mapping[str, PoisonReader],
        own: Identity,
        token: str,
        progress: Callable[[int, int], None],
    ) -> None:
        self._index = index
        self._readers = readers
        self._own = own
        self._token = token
        self._progress = progress
        self._others: dict[str, Received] = {}
        self._of_others: Counter[str] = Counter()
        self._in_hand: list[Received] = []
        self._seen = 0
        self._repeats = 0
        self._stopped = False
        self._held_until = 0.0
        self._return_until = 0.0

    async def run(self, count: int) -> None:
        """Compare; see `Comparison.ensure`.

        Args:
            count: the queue's approximate number of messages.
        """
        renewing = asyncio.create_task(self._renew())
        try:
            for where, reader in self._readers.items():
                await self._read(where, reader, count)
            await self._end()
            await with_late_answers(self._put_back(PUT_BACK_SECONDS), self._stop)
        except BaseException:
            await self._give_up()
            raise
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _end(self) -> None:
        held = await self._keep_held()
        counts = {"unreadable": self._unreadable, "held": held}
        if await self._index.end(self._token, of_others=self._of_others, **counts) is None:
            raise StorageUnavailableError(
                "index of the poison queue: another comparison with the queue has begun, or Redis "
                "has lost the index; repeat the command"
            )

    @property
    def _unreadable(self) -> int:
        return sum(len(reader.unreadable) for reader in self._readers.values())

    async def _read(self, where: str, reader: PoisonReader, count: int) -> None:
        """Receive all messages of one queue, and put them into the index."""
        began, before = hold_time(), self._seen
        self._repeats = 0

        async def work(_: int) -> None:
            while self._repeats < MOST_REPEATS and not self._stopped:
                left = max(0, count - self._seen)
                reader.hold_seconds = _hold(hold_time() - began, self._seen - before, left)
                page = await reader.receive()
                if not page:
                    return
                for received in page:
                    received.where = where
                await self._note(page)
                self._progress(self._seen, max(count, self._seen))

        await with_late_answers(side_by_side(range(AT_ONCE), work), self._stop)

    def _stop(self) -> None:
        self._stopped, self._return_until = True, 0.0

    async def _note(self, page: list[Received]) -> None:
        self._in_hand += page
        self._held_until = max(self._held_until, *(each.held_until for each in page))
        own = [each for each in page if is_own(each.message, self._own)]
        new = await self._index.put(map(_entry, own), token=self._token) if own else 0
        for each in page:
            self._in_hand.remove(each)
            if not is_own(each.message, self._own):
                if each.name not in self._others:
                    new += 1
                    self._of_others[each.message.source.identity.app] += 1
                each.message = _entry(each).shortened().message  # only the receipt is needed
                self._others[each.name] = each
        self._seen += new
        self._repeats = 0 if new else self._repeats + 1

    async def _keep_held(self) -> int:
        """Keep the entries of messages that somebody else holds.

        Returns:
            The number of held messages that have no entry.
        """
        count, state = await count_of(self._readers), await self._index.state()
        foreign = len(self._others) + self._unreadable
        missing = count - (state.comparing or 0) - foreign
        if missing > 0:
            unseen = state.entries - (state.comparing or 0)
            after: str | None = None
            while True:
                page = await self._index.unseen(self._token, after)
                if missing < unseen:
                    await side_by_side(page.entries, self._keep_if_there)
                else:
                    await self._index.keep(self._token, [each.name for each in page.entries])
                if (after := page.after) is None:
                    break
        state = await self._index.state()
        return max(0, count - (state.comparing or 0) - foreign)

    async def _keep_if_there(self, entry: IndexEntry) -> None:
        if not await is_gone(self._readers[entry.where], entry):
            await self._index.keep(self._token, [entry.name])

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(COMPARE_SECONDS / 6)
            with suppress(StorageUnavailableError):  # the next round retries
                await self._index.renew(self._token)

    async def _put_back(self, seconds: float) -> None:
        """Put messages back for a time; the others reappear by themselves."""
        self._return_until = min(self._held_until, hold_time() + seconds)
        await side_by_side(
            [*self._in_hand, *self._others.values()], self._return, goes_on=self._holds
        )
        after: str | None = None
        while self._holds():
            page = await self._index.held(self._token, after)
            held = [
                Received(each.message, each.name, each.receipt, each.where)
                for each in page.entries
                if each.where in self._readers
            ]
            await side_by_side(held, self._return, goes_on=self._holds)
            receipts = {each.name: each.receipt for each in held}
            returned = dict(receipts.items() - {(each.name, each.receipt) for each in page.entries})
            await self._index.set_receipts(returned, token=self._token)
            if (after := page.after) is None:
                if self._holds():  # else some were not put back
                    self._held_until = 0.0
                return

    async def _give_up(self) -> None:
        """Put messages back for a moment; the others reappear when their timeouts expire."""
        with suppress(StorageUnavailableError, TimeoutError):
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await self._put_back(GIVE_UP_SECONDS * 0.7)
        with suppress(StorageUnavailableError, TimeoutError):
            async with asyncio.timeout(GIVE_UP_SECONDS / 3):
                await self._index.abandon(self._token)
        if (seconds := self._held_until - hold_time()) > 0:
            logger.warning(
                "An interrupted comparison still hides poison messages from readers, for at most "
                "%.0f s",
                seconds,
            )

    def _holds(self) -> bool:
        return hold_time() < self._return_until

    async def _return(self, received: Received) -> None:
        with suppress(StorageUnavailableError):  # the visibility timeout expires
            await self._readers[received.where].put_back(received)


def _entry(received: Received) -> IndexEntry:
    return IndexEntry(received.name, received.receipt, received.message, received.where)


def _hold(elapsed: float, seen: int, left: int) -> float:
    """Return the visibility timeout after which the whole queue was probably read, in seconds."""
    if not seen:
        return FIRST_HOLD_SECONDS
    seen = max(seen, AT_ONCE * PAGE)  # the other answers to the first calls are on their way
    return min(MOST_HOLD_SECONDS, MARGIN_SECONDS + MARGIN * elapsed * left / seen)


async def count_of(readers: Mapping[str, PoisonReader]) -> int:
    """Return the approximate number of messages of all queues."""
    return sum([await reader.count() for reader in readers.values()])
