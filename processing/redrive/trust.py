"""The check that the index of the poison queue has all of the queue's messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from processing.errors import StorageUnavailableError
from processing.poison.comparison import Compared
from processing.poison.index.index import IndexState, PoisonIndex
from processing.poison.queue import PoisonReader
from processing.redrive.stopping import Stopping

logger = logging.getLogger(__name__)

LOOKS = 3
LOOK_SECONDS = 0.3
"""Pause between two looks; a message is in the queue shortly before it is in the index."""

type Compare = Callable[[], Awaitable[Compared]]


async def trusted_state(
    index: PoisonIndex | None,
    reader: PoisonReader,
    compare: Compare | None,
    stopping: Stopping,
    *,
    few: int,
) -> IndexState | None:
    """Return the state of an index that has all messages; None: the queue must be received.

    Args:
        index: the index, or None.
        reader: counts the queue's messages.
        compare: compares the index with the queue if that is due; None: nothing does.
        stopping: ends a comparison.
        few: number of messages that are received rather than compared.

    Raises:
        StorageUnavailableError: the queue does not answer.
    """
    if index is None:
        return None
    count = 0
    state = IndexState()
    for look in range(LOOKS):
        if look:
            await stopping.pause(LOOK_SECONDS)
        count = await reader.count()  # first, so that no new message makes the index look short
        try:
            state = await index.state()
            if _has_all(state, count):
                return state
            if count <= few or stopping:
                return None
            if compare is not None and (compared := await _until_stop(compare, stopping)):
                count, state = compared.count, compared.state
                if _has_all(state, count):
                    return state
        except StorageUnavailableError as error:
            logger.warning("The whole poison queue is received, without its index: %s", error)
            return None
    if not stopping:
        logger.warning(
            "The whole poison queue is received, because its index cannot be trusted: the queue "
            "has about %d messages, the index has %d%s",
            *(count, state.entries),
            "" if state.built_at else " and was never compared with the queue",
        )
    return None


async def _until_stop(compare: Compare, stopping: Stopping) -> Compared | None:
    """Compare, unless the redrive is stopped; then the comparison puts back what it holds."""

    async def comparing() -> Compared:
        return await compare()

    task = asyncio.create_task(comparing())
    try:
        if await stopping.ended(task, 0):
            return await task
        return None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _has_all(state: IndexState, count: int) -> bool:
    is_built = state.built_at is not None and state.comparing is None
    return is_built and state.held == 0 and state.total >= count
