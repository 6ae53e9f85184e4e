"""Whether the index of the poison queue has all of the queue's messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from processing.errors import StorageUnavailableError
from processing.poison.index.index import IndexState, PoisonIndex
from processing.poison.queue import PoisonReader

logger = logging.getLogger(__name__)

LOOKS = 3
LOOK_SECONDS = 0.3
"""Pause between two looks; a message is in the queue shortly before it is in the index."""

type Compare = Callable[[], Awaitable[IndexState]]


async def trusted_state(
    index: PoisonIndex | None, reader: PoisonReader, compare: Compare | None = None
) -> IndexState | None:
    """Return the state of an index that has all messages; None: the queue must be received.

    Args:
        index: the index, or None.
        reader: counts the queue's messages.
        compare: compares the index with the queue if that is due.

    Raises:
        StorageUnavailableError: the queue does not answer.
    """
    if index is None:
        return None
    count = 0
    for look in range(LOOKS):
        if look:
            await asyncio.sleep(LOOK_SECONDS)
        count = await reader.count()  # first, so that no new message makes the index look short
        try:
            state = await index.state()
            if _has_all(state, count):
                return state
            if compare is not None:
                state = await compare()
                if _has_all(state, await reader.count()):
                    return state
        except StorageUnavailableError as error:
            logger.warning("The whole poison queue is received, without its index: %s", error)
            return None
    logger.warning(
        "The whole poison queue is received, because its index cannot be trusted: the queue has "
        "about %d messages, the index has %d%s",
        *(count, state.entries, "" if state.built_at else " and was never compared with the queue"),
    )
    return None


def _has_all(state: IndexState, count: int) -> bool:
    is_built = state.built_at is not None and state.comparing is None
    return is_built and state.held == 0 and state.total >= count
