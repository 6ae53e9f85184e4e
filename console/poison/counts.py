"""Number of the app's own events in the poison queue, without those of other apps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.errors import OperationsError
from console.poison.catalogue import Catalogue

if TYPE_CHECKING:
    from processing.monitoring.poison_count import PoisonCount


class PoisonCounts:
    """Counts of a queue that several apps may use.

    Peeking shows the first 32 messages. If the queue is longer, the latest comparison of the index
    with the queue has counted the messages of other apps. A comparison begins only if one of the
    first messages belongs to another app.

    Args:
        catalogue: the messages of the queue.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def split(self, count: PoisonCount | None) -> tuple[int | None, int | None]:
        """Return the numbers of the app's own messages and of other apps' messages.

        None: the number is unknown.
        """
        if count is None:
            return None, None
        if count.is_whole:
            return count.own, count.of_others
        of_others = count.of_others
        try:
            if of_others:
                state = (await self._catalogue.known()).state
            else:
                state = await self._catalogue.state()
        except OperationsError:
            pass  # the number among the first messages is a lower bound
        else:
            of_others = max(of_others, sum(state.of_others.values()))
        of_others = min(of_others, count.total)
        return count.total - of_others, of_others
