"""Number of the app's own events in the poison queue, without those of other apps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from console.errors import CoordinationError, OperationsError
from console.poison.catalogue import Catalogue

if TYPE_CHECKING:
    from processing.monitoring.poison_count import PoisonCount

AGAIN_SECONDS = 30.0
"""Least time between two readings of a long queue, because a reading hides its messages."""


class PoisonCounts:
    """Counts of a queue that several apps may use.

    Peeking shows the first 32 messages. The whole queue is read only if the queue is longer and one
    of the first messages belongs to another app.

    Args:
        catalogue: the messages of the queue.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._again = 0.0
        self._of_others = 0

    async def split(self, count: PoisonCount | None) -> tuple[int | None, int | None]:
        """Return the numbers of the app's own messages and of other apps' messages.

        None: the number is unknown. If a queue has over a thousand messages, all messages after the
        first thousand count as the app's own.
        """
        if count is None:
            return None, None
        if count.is_whole or not count.of_others:
            return count.own, count.of_others
        if time.monotonic() >= self._again:
            self._again = time.monotonic() + AGAIN_SECONDS
            try:
                messages, _ = await self._catalogue.messages()
                own = await self._catalogue.own()
            except (OperationsError, CoordinationError):
                pass  # the earlier number counts, or the number among the first messages
            else:
                self._of_others = sum(each.source.identity != own for each in messages)
        others = min(max(self._of_others, count.of_others), count.total)
        return count.total - others, others
