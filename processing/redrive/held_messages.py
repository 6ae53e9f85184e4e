"""Poison messages that one redrive holds, so that no other reader receives them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress

from processing.errors import StorageUnavailableError
from processing.identity import Identity
from processing.parking.store import ParkingStore
from processing.poison.message import PoisonMessage
from processing.poison.other_apps import is_own
from processing.poison.queue import Hold, PoisonReader, Received
from processing.poison.side_by_side import AT_ONCE, side_by_side
from processing.redrive.indexed_reader import IndexedReader
from processing.redrive.left_message import LeftMessage, left_message
from processing.redrive.renewal import renewed
from processing.redrive.stopping import Stopping

logger = logging.getLogger(__name__)

FULL_PAGE = 32
"""Number of messages of a full page; a queue with one may have further pages."""
READ_SECONDS = 0.5
"""Longest time that a stop waits for pages that are being received."""
RETURN_SECONDS = 1.0
"""Longest time in which messages are put back after a stop; then their holds expire."""
RENEWED_SHARE = 0.7
"""A hold of which less than this share is left is renewed; a renewal may fail once."""


class HeldMessages:
    """The app's messages of the poison queue that one redrive holds.

    Args:
        reader: reads the queue.
        store: returns which messages are stale.
        own: the app.
        stopping: ends the reading, and limits the time in which messages are put back.

    Attributes:
        of_others: number of the selected messages of each other app, which are not replayed.
        other: one of these messages.
    """

    def __init__(
        self,
        reader: PoisonReader | IndexedReader,
        store: ParkingStore,
        own: Identity,
        *,
        stopping: Stopping | None = None,
    ) -> None:
        self.of_others: Counter[str] = Counter()
        self.other: PoisonMessage | None = None
        self._own = own
        self._reader = reader if isinstance(reader, IndexedReader) else IndexedReader(reader, None)
        self._store = store
        self._stopping = Stopping() if stopping is None else stopping
        self._held: dict[str, Received] = {}
        self._left: dict[str, LeftMessage] = {}
        self._postponed: dict[str, LeftMessage] = {}
        self._others: dict[str, LeftMessage] = {}  # not selected, and held now
        self._names_of_others: set[str] = set()
        self._in_flight: set[str] = set()
        self._empty = False
        self._returned = 0  # known messages in a row that were received again

    async def _put_back_others(self) -> None:
        """Put the messages back that the redrive will not try; their names are kept."""
        others, self._others = self._others, {}

        async def one(each: LeftMessage) -> None:
            with suppress(StorageUnavailableError):  # the visibility timeout expires
                await self._reader.put_back(each)

        await side_by_side(others.values(), one, goes_on=self._may_clear_up)

    @property
    def received(self) -> list[Received]:
        """The held messages that the redrive has not tried, in the order of the queue."""
        return [each for each in self._held.values() if not each.gone]

    def knows(self, name: str) -> bool:
        """Return whether the redrive has received the message, unless the index knows the end."""
        return name in self._reader.removed or any(name in each for each in self._groups)

    @property
    def _groups(self) -> Sequence[Collection[str]]:
        return self._held, self._left, self._postponed, self._names_of_others

    async def missing(self) -> int:
        """Return how many messages of the queue were not received, after the whole queue was read.

        Somebody else holds them. The number is at least the true one.

        Raises:
            StorageUnavailableError: the queue does not answer.
        """
        known = sum(map(len, self._groups)) + len(self._reader.unreadable)
        return max(0, await self._reader.count() - known)

    async def collect(
        self, matches: Callable[[PoisonMessage], bool], most: int | None = None
    ) -> bool:
        """Hold the app's selected messages, and put all others back after the reading.

        Args:
            matches: returns whether a message is selected.
            most: greatest number of held messages; None: no limit.

        Returns:
            Whether the queue may have further messages.

        Raises:
            StorageUnavailableError: the queue cannot be read; no message is held.
        """
        self._empty, self._returned = False, 0
        reading = asyncio.create_task(self._read(matches, most))
        try:
            if await self._stopping.ended(reading, READ_SECONDS):
                await reading
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                self._stopping.stop("interrupted", hurried=True)
            await _cancel(reading)
            await self.put_back()
            raise
        await _cancel(reading)
        if not self._stopping:
            await self._put_back_others()
        return not self._empty

    async def _read(self, matches: Callable[[PoisonMessage], bool], most: int | None) -> None:
        """Receive pages until the queue is empty; several at a time after a full page."""
        asked = 0

        def has_room() -> bool:
            if self._empty or self._stopping:
                return False
            return most is None or len(self._held) + asked * FULL_PAGE < most

        async def page() -> int:
            nonlocal asked
            asked += 1
            try:
                found = await self._reader.receive()
            finally:
                asked -= 1
            for each in found:
                self._add(each, matches)
            known = sum(map(len, self._groups))
            self._empty = self._empty or not found or self._returned > known
            return len(found)

        async def pages(_number: int) -> None:
            while has_room():
                await page()

        while has_room():
            if await page() >= FULL_PAGE:
                await side_by_side(range(AT_ONCE), pages)

    def _add(self, each: Received, matches: Callable[[PoisonMessage], bool]) -> None:
        name = each.name
        holds: list[Mapping[str, Hold]] = [self._held, self._left, self._postponed, self._others]
        known = next((group[name] for group in holds if name in group), None)
        if known is not None:  # the hold had expired
            self._returned += 1
            known.receipt, known.held_until, known.gone = each.receipt, each.held_until, False
            return
        if name in self._names_of_others:  # it was put back
            self._returned += 1
            self._others[name] = left_message(each)
            return
        self._returned = 0
        selected, own = matches(each.message), is_own(each.message, self._own)
        if name in self._reader.lost:  # its event was replayed
            self._left[name] = left_message(each)
            return
        if selected and own:
            self._held[name] = each
            return
        if selected:
            self.of_others[each.message.source.identity.app] += 1
            self.other = self.other or each.message
        self._others[name] = left_message(each)
        self._names_of_others.add(name)

    def hold(self, taken: Received) -> None:
        """Hold a message that was taken."""
        self._held[taken.name] = taken

    def leave(self, tried: Iterable[Received]) -> None:
        """Do not try these messages again in this redrive; removed ones are forgotten."""
        for each in tried:
            self._held.pop(each.name, None)
            if not each.gone:
                self._left[each.name] = left_message(each)

    def postpone(self, received: Iterable[Received]) -> None:
        """Keep held messages without their bodies until `return_postponed`."""
        for each in received:
            if self._held.pop(each.name, None) is not None and not each.gone:
                self._postponed[each.name] = left_message(each)

    async def return_postponed(self) -> None:
        """Put postponed messages back, and forget them, so that they are received as new ones."""
        postponed, self._postponed = self._postponed, {}

        async def one(each: LeftMessage) -> None:
            with suppress(StorageUnavailableError):  # the visibility timeout expires
                await self._reader.put_back(each)

        await side_by_side(postponed.values(), one, goes_on=self._may_clear_up)
        await self._reader.flush()

    def renewed(self) -> AbstractAsyncContextManager[None]:
        """Renew the visibility timeouts of the held messages during the block."""
        return renewed(self._renew, self._reader.hold_seconds)

    @contextmanager
    def in_flight(self, received: Sequence[Received]) -> Iterator[None]:
        """Renew the holds of these messages also after a stop, until the block ends."""
        names = {each.name for each in received}
        self._in_flight |= names
        try:
            yield
        finally:
            self._in_flight -= names

    async def put_back(self) -> None:
        """End the visibility timeouts, so that other readers receive the messages."""
        await self._put_back_or_remove(remove_stale=False)

    async def put_back_or_remove(self) -> int:
        """Put the messages back, remove stale ones, and return the number of stale ones.

        A message is stale if another redrive has replayed its event with its key.
        """
        return await self._put_back_or_remove(remove_stale=True)

    async def _put_back_or_remove(self, *, remove_stale: bool) -> int:
        self.leave(list(self._held.values()))
        all_left = self._left | self._postponed | self._others
        waiting = [each for each in all_left.values() if not each.gone]
        self._left, self._postponed, self._others = {}, {}, {}
        stale = finished = 0

        async def one(each: LeftMessage) -> None:
            nonlocal stale, finished
            finished += 1
            left = self._stopping.seconds_left(RETURN_SECONDS)
            # After an error, or if the time is over, the visibility timeout expires.
            with suppress(StorageUnavailableError, TimeoutError):
                async with asyncio.timeout(left):
                    if remove_stale and await self._is_stale(each):
                        stale += 1
                        await self._reader.remove(each)
                    else:
                        await self._reader.put_back(each)

        await side_by_side(waiting, one, goes_on=self._may_clear_up)
        for each in waiting:
            self._reader.note_held(each)
        await self._reader.flush()
        if hidden := len(waiting) - finished:
            logger.warning(
                "%d poison messages are not put back, because the redrive was stopped; they are "
                "visible again in at most %.0f s",
                *(hidden, self._reader.hold_seconds),
            )
        return stale

    async def _renew(self) -> bool:
        async def one(each: Received) -> None:
            if self._stopping and each.name not in self._in_flight:
                return  # it is put back in a moment
            with suppress(StorageUnavailableError):  # the next round retries
                await self._reader.renew(each)

        needed = self._reader.hold_seconds * RENEWED_SHARE
        short = [each for each in self.received if not each.is_held_for(needed)]
        await side_by_side(short, one, most=self._reader.window.at_once)
        return True

    async def _is_stale(self, left: LeftMessage) -> bool:
        return left.verdict is not None and await self._store.is_stale(*left.verdict)

    def _may_clear_up(self) -> bool:
        return self._stopping.may_clear_up(RETURN_SECONDS)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
