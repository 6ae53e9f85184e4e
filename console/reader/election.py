"""Election of the reader: the instance that holds the lease reads for all instances.

Only the lease's holder may publish as the reader. So an instance that lost the lease without
noticing publishes nothing twice.
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
"""Function that publishes one message (kind, data) as the elected reader."""
type ReaderTask = Callable[[Publish], Coroutine[Any, Any, None]]
"""Task that the elected reader runs until cancelled."""


class Election:
    """Candidate that runs the reader tasks while this instance holds the reader's lease.

    Args:
        coordination: holds the lease.
        backplane: receives the published messages.
        tasks: reader tasks, each of which runs until cancelled.
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
        """True while this instance is the elected reader."""
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
                logger.debug("the reader's lease was not released; it expires: %s", error)

    async def _acquire_lease(self) -> bool:
        try:
            return await self._coordination.acquire(READER, self._token, LEASE_SECONDS)
        except CoordinationError as error:
            logger.debug("the reader's lease was not acquired; retrying: %s", error)
            return False

    async def _step_down(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None

    async def _lead(self) -> None:
        logger.info("this instance is the elected reader")
        try:
            async with asyncio.TaskGroup() as group:
                for reader_task in self._tasks:
                    group.create_task(self._keep_running(reader_task))
        except* NotReaderError:
            logger.info("another instance is the elected reader")

    async def _keep_running(self, reader_task: ReaderTask) -> None:
        """Run a reader task, and restart the task alone if it fails."""
        while True:
            try:
                await reader_task(self._publish)
            except NotReaderError:
                raise
            except Exception:
                name = getattr(reader_task, "__qualname__", repr(reader_task))
                logger.exception("reader task %s failed; the task is restarted", name)
            await asyncio.sleep(RENEW_SECONDS)

    async def _publish(self, kind: str, data: Document) -> None:
        await self._backplane.publish([(kind, data)], reader=self._token)
