"""The elected reader: one instance that reads for all, whichever has the lease.

What it reads goes over the backplane, and only the lease's holder may publish it; so whoever was
replaced without knowing yet says nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from console.backplane.coordination import READER, Coordination
from console.backplane.stream import Backplane, Document
from console.errors import CoordinationError, NotReaderError

logger = logging.getLogger(__name__)

LEASE_SECONDS = 4.0
RENEW_SECONDS = 1.0

type Publish = Callable[[str, Document], Awaitable[None]]
"""Publishes one message (kind, data), as the elected reader."""
type ReaderTask = Callable[[Publish], Coroutine[Any, Any, None]]
"""What the elected reader does until it is cancelled."""


class Election:
    """Acquires the lease when it is free, and runs the reader tasks while it holds the lease.

    Args:
        coordination: keeps the lease.
        backplane: takes what is read.
        tasks: each runs until cancelled.
    """

    def __init__(
        self, coordination: Coordination, backplane: Backplane, tasks: tuple[ReaderTask, ...]
    ) -> None:
        self._coordination = coordination
        self._backplane = backplane
        self._tasks = tasks
        self._token = secrets.token_hex(8)
        self._reading: asyncio.Task[None] | None = None

    @property
    def is_reader(self) -> bool:
        """Whether this instance reads."""
        return self._reading is not None

    async def run(self) -> None:
        """Stand for election until cancelled, then release the lease."""
        try:
            while True:
                if not await self._acquire_lease():
                    await self._step_down()
                elif self._reading is None or self._reading.done():
                    self._reading = asyncio.create_task(self._lead(), name="console-reader")
                await asyncio.sleep(RENEW_SECONDS)
        finally:
            await self._step_down()
            try:
                await self._coordination.release(READER, self._token)
            except CoordinationError as error:
                logger.debug("the reader's lease runs out by itself: %s", error)

    async def _acquire_lease(self) -> bool:
        try:
            return await self._coordination.acquire(READER, self._token, LEASE_SECONDS)
        except CoordinationError as error:
            logger.debug("%s", error)
            return False

    async def _step_down(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None

    async def _lead(self) -> None:
        logger.info("this instance reads for all")
        try:
            async with asyncio.TaskGroup() as group:
                for reader_task in self._tasks:
                    group.create_task(reader_task(self._publish))
        except* NotReaderError:
            logger.info("another instance reads for all")
        except* Exception:
            logger.exception("reading for all failed; the reader tasks are restarted")

    async def _publish(self, kind: str, data: Document) -> None:
        await self._backplane.publish([(kind, data)], reader=self._token)
