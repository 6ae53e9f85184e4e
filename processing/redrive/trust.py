"""The check that the index of the poison queue has all of the queue's messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Protocol

from processing.errors import StorageUnavailableError
from processing.poison.comparison import Compared
from processing.poison.index.index import IndexState, PoisonIndex
from processing.poison.queue import PoisonReader
from processing.redrive.stopping import Stopping

logger = logging.getLogger(__name__)

LOOKS = 3
LOOK_SECONDS = 0.3
"""Pause between two polls; the index gets a message shortly after the queue does."""


class Compare(Protocol):
    """A comparison of the index with the queue; see `Comparison.ensure`."""

    def __call__(self, *, fresh: bool) -> Awaitable[Compared]: ...  # noqa: D102 - see above


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
        compare: compares the index with the queue; None: nothing does.
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
            if stopping or (state.comparing is None and count <= few):
                return None
            if state.comparing is not None:  # it holds the messages
                logger.warning(
                    "The redrive waits, because a comparison of the poison queue with its index is "
                    "running, which has received %d messages so far",
                    state.comparing,
                )
            elif look == 0 and state.built_at is not None:
                continue  # the numbers may differ for a moment
            if compare is not None:
                fresh = state.comparing is not None or state.total != count
                compared = await _until_stop(compare, stopping, fresh=fresh)
                if compared is not None and _has_all(compared.state, compared.count):
                    return compared.state
                if state.comparing is None:
                    compare = None  # once is enough
        except StorageUnavailableError as error:
            logger.warning("The redrive reads the whole queue, because its index failed: %s", error)
            return None
    if not stopping:
        logger.warning(
            "The whole poison queue is received, because its index does not match it: the queue "
            "has about %d messages, the index has %d%s",
            *(count, state.entries),
            "" if state.built_at else " and was never compared with the queue",
        )
    return None


async def _until_stop(compare: Compare, stopping: Stopping, *, fresh: bool) -> Compared | None:
    """Compare, unless the redrive is stopped; then the comparison puts back what it holds."""

    async def comparing() -> Compared:
        return await compare(fresh=fresh)

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
    return is_built and state.held == 0 and state.total == count
