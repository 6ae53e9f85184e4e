"""The app's messages in the poison queue, as the queue's index knows them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from console.errors import OperationsError
from console.poison.lazy_operations import translate_errors
from processing.errors import ProcessingError

if TYPE_CHECKING:
    from processing.operations import PoisonStorage
    from processing.poison.comparison import Compared
    from processing.poison.index.entry import Cause, IndexEntry
    from processing.poison.index.index import IndexState, Page

logger = logging.getLogger(__name__)

FRESH_SECONDS = 2.0
"""Least time between two comparisons of the numbers of messages in the queue and in its index."""
WAIT_SECONDS = 3.0
"""Longest wait of a request for a comparison with the queue; a long queue takes longer."""

RECEIVED = 1_000
"""Most messages of a queue that are received to find what the index does not know."""


@dataclass(frozen=True, slots=True)
class Known:
    """The index, and the queue as it was when the index was last compared with it.

    Attributes:
        state: the state of the index.
        count: the queue's approximate number of messages; None: the queue has not answered yet.
        problem: why the index could not be compared with the queue, or "".
    """

    state: IndexState
    count: int | None = None
    problem: str = ""


class Catalogue:
    """The app's messages in the poison queue.

    A list or a search reads the index, so that it holds no message. The index is compared with the
    queue when that is due; this runs in the background, because a long queue takes minutes.

    Args:
        storage: opens the queue.
    """

    def __init__(self, storage: Callable[[], Awaitable[PoisonStorage]]) -> None:
        self._storage = storage
        self._comparing: asyncio.Task[Compared] | None = None
        self._compared: Compared | None = None
        self._problem = ""
        self._until = 0.0

    async def known(self, *, fresh: bool = False) -> Known:
        """Compare the index with the queue if that is due, and return what is known.

        Args:
            fresh: whether to query the queue even if it was queried a moment ago.

        Raises:
            OperationsError: the index does not answer.
        """
        storage = await self._storage()
        if self._comparing is None and (fresh or time.monotonic() >= self._until):
            self._comparing = asyncio.create_task(
                storage.comparison.ensure(), name="console-poison-comparison"
            )
            self._comparing.add_done_callback(self._note)
        if self._comparing is not None:
            await asyncio.wait({self._comparing}, timeout=WAIT_SECONDS)
        state = await self.state()
        count = None if self._compared is None else self._compared.count
        return Known(state, count, self._problem)

    async def state(self) -> IndexState:
        """Return what the index knows, without a look at the queue.

        Raises:
            OperationsError: the index does not answer.
        """
        return await translate_errors((await self._storage()).index.state())

    async def search(self, text: str, cause: Cause | None, after: str | None, most: int) -> Page:
        """Return messages, oldest first; see `processing.poison.index.search`.

        Raises:
            OperationsError: the index does not answer.
        """
        from processing.poison.index.search import search  # noqa: PLC0415 - loaded by now

        index = (await self._storage()).index
        return await translate_errors(search(index, text, cause=cause, after=after, most=most))

    async def causes(self) -> Counter[Cause]:
        """Return the number of messages by cause.

        Raises:
            OperationsError: the index does not answer.
        """
        return Counter(await translate_errors((await self._storage()).index.causes()))

    async def named(self, text: str) -> list[IndexEntry]:
        """Return the app's messages of the event with an id, or with the end of an id.

        Raises:
            OperationsError: the index does not answer.
        """
        storage = await self._storage()
        return list(await translate_errors(storage.index.of_id(text)))

    async def aclose(self) -> None:
        """End a running comparison, which puts back the messages that it holds."""
        if (task := self._comparing) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _note(self, task: asyncio.Task[Compared]) -> None:
        self._comparing = None
        self._until = time.monotonic() + FRESH_SECONDS
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._compared, self._problem = task.result(), ""
        elif isinstance(error, ProcessingError | OperationsError):
            self._problem = str(error)
        else:
            self._problem = f"{type(error).__name__}: {error}"
            logger.error("the comparison of the poison queue with its index failed", exc_info=error)
