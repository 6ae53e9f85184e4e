"""Notes in the index of each message that the app puts into the queue."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from processing.errors import StorageUnavailableError
from processing.poison.index.entry import IndexEntry
from processing.poison.index.index import PoisonIndex

logger = logging.getLogger(__name__)

AWAY_SECONDS = 30.0
"""Time after a failure in which the index is not asked again."""


class IndexNotes:
    """A writer of the index that never fails: the queue already has the message.

    A message that is not noted is found by the next comparison of the index with the queue.

    Args:
        index: the index; a timeout of its own bounds the delay.
        clock: returns the time in seconds.
    """

    def __init__(self, index: PoisonIndex, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._index = index
        self._clock = clock
        self._away_until = float("-inf")
        self._missed = 0

    async def note(self, entry: IndexEntry) -> None:
        """Put an entry into the index, unless the index has failed a moment ago."""
        if self._clock() < self._away_until:
            self._missed += 1
            return
        try:
            await self._index.put([entry])
        except StorageUnavailableError as error:
            self._away_until = self._clock() + AWAY_SECONDS
            self._missed += 1
            if self._missed == 1:
                logger.warning(
                    "The index of the poison queue misses messages until it is compared with the "
                    "queue again: %s",
                    error,
                )
            return
        if self._missed:
            logger.info("The poison index is writable again, but lacks %d messages", self._missed)
            self._missed = 0
