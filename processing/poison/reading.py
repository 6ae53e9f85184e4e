"""The reading of a whole poison queue to find some of its messages.

All messages are held until the last one is received. Of those that do not match, only what is
needed to put them back is kept. It takes a call to put one message back, so the messages of a long
queue are put back for some seconds only. The index gets the receipts of the others, so that
they can be taken before their visibility timeouts expire.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import batched

from processing.errors import StorageUnavailableError
from processing.poison.hold_clock import hold_time
from processing.poison.index.index import PoisonIndex
from processing.poison.message import PoisonMessage
from processing.poison.queue import PoisonReader
from processing.poison.side_by_side import AT_ONCE, side_by_side, with_late_answers

logger = logging.getLogger(__name__)

FULL_PAGE = 32
"""Number of messages of a full page; a queue with one may have further pages."""
PUT_BACK_SECONDS = 3.0
"""Time in which messages are put back; nobody should wait for more."""
GIVE_UP_SECONDS = 0.7
"""Time in which an interrupted search puts messages back."""
WRITE_SECONDS = 0.5
"""Time in which the search then writes the receipts of the other messages."""
PUT_BACK_AT_ONCE = 256


@dataclass(slots=True, eq=False)
class _Seen:
    """A hold on a message whose body is not kept; see `Received`."""

    name: str
    receipt: str
    where: str
    held_until: float
    gone: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


class _Reading:
    def __init__(
        self,
        reader: PoisonReader,
        matches: Callable[[PoisonMessage], bool],
        index: PoisonIndex | None,
    ) -> None:
        self._reader = reader
        self._matches = matches
        self._index = index
        self._seen: dict[str, _Seen] = {}
        self._repeats = 0  # known messages in a row that were received again
        self._ended = False
        self.found: dict[str, PoisonMessage] = {}

    async def run(self) -> None:
        seconds = GIVE_UP_SECONDS
        try:
            await with_late_answers(self._read(), self._end)
            seconds = PUT_BACK_SECONDS
        finally:
            await self._put_back(seconds)

    def _end(self) -> None:
        self._ended = True

    async def _read(self) -> None:
        if await self._page() >= FULL_PAGE:
            await side_by_side(range(AT_ONCE), self._pages)
        await self._pages(0)

    async def _pages(self, _number: int) -> None:
        while not self._ended:
            await self._page()

    async def _page(self) -> int:
        page = await self._reader.receive()
        for each in page:
            if each.name in self._seen:  # the hold had expired
                self._repeats += 1
            else:
                self._repeats = 0
            if self._matches(each.message):
                self.found[each.name] = each.message
            self._seen[each.name] = _Seen(each.name, each.receipt, each.where, each.held_until)
        self._ended = self._ended or not page or self._repeats > len(self._seen)
        return len(page)

    async def _put_back(self, seconds: float) -> None:
        until = hold_time() + seconds
        first = [self._seen[name] for name in self.found]
        rest = [each for name, each in self._seen.items() if name not in self.found]
        left: list[_Seen] = []

        async def one(each: _Seen) -> None:
            if each.held_until <= hold_time():
                each.gone = True  # somebody else may have the message, with a later receipt
            elif hold_time() < until:
                with suppress(StorageUnavailableError):  # the visibility timeout expires
                    await self._reader.put_back(each)
            else:
                left.append(each)

        for some in batched([*first, *rest], PUT_BACK_AT_ONCE):
            await side_by_side(some, one)
            if not await self._write_receipts(some):
                self._index = None  # Redis is away: the next comparison finds the receipts
        if left:
            longest = max(each.held_until for each in left) - hold_time()
            logger.warning(
                "%d poison messages stay invisible until their visibility timeouts expire, in at "
                "most %.0f s",
                *(len(left), longest),
            )

    async def _write_receipts(self, some: tuple[_Seen, ...]) -> bool:
        if self._index is not None:
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._index.set_receipts(
                        {each.name: each.receipt for each in some if not each.gone}
                    )
            except (StorageUnavailableError, TimeoutError):
                return False
        return True


async def read_matching(
    reader: PoisonReader,
    matches: Callable[[PoisonMessage], bool],
    index: PoisonIndex | None,
) -> list[PoisonMessage]:
    """Return the matching messages among all that no reader holds, also several of one event.

    Args:
        reader: reads the queue.
        matches: returns whether a message is wanted.
        index: gets the new receipts; None: the queue has no index.

    Raises:
        StorageUnavailableError: the queue cannot be read.
    """
    reading = _Reading(reader, matches, index)
    await reading.run()
    return list(reading.found.values())
