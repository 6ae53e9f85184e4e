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

type Say = Callable[[str, Document], Awaitable[None]]
"""Publishes one message (kind, data), as the elected reader."""
type Duty = Callable[[Say], Coroutine[Any, Any, None]]
"""What the elected reader does until it is cancelled."""


class Leader:
    """Takes the lease when it is free, and does the duties while it has it.

    Args:
        coordination: keeps the lease.
        backplane: takes what is read.
        duties: each runs for ever; one that fails is its own affair.
    """

    def __init__(
        self, coordination: Coordination, backplane: Backplane, duties: tuple[Duty, ...]
    ) -> None:
        self._coordination = coordination
        self._backplane = backplane
        self._duties = duties
        self._token = secrets.token_hex(8)
        self._leading: asyncio.Task[None] | None = None

    @property
    def leads(self) -> bool:
        """Whether this instance reads."""
        return self._leading is not None

    async def run(self) -> None:
        """Stand for election for ever; whoever is told to stop gives the lease back."""
        try:
            while True:
                if not await self._elected():
                    await self._resign()
                elif self._leading is None or self._leading.done():
                    self._leading = asyncio.create_task(self._lead(), name="console-reader")
                await asyncio.sleep(RENEW_SECONDS)
        finally:
            await self._resign()
            try:
                await self._coordination.give_back(READER, self._token)
            except CoordinationError as error:
                logger.debug("the reader's lease runs out by itself: %s", error)

    async def _elected(self) -> bool:
        try:
            return await self._coordination.take(READER, self._token, LEASE_SECONDS)
        except CoordinationError as error:
            logger.debug("%s", error)
            return False

    async def _resign(self) -> None:
        if self._leading is not None:
            self._leading.cancel()
            await asyncio.gather(self._leading, return_exceptions=True)
            self._leading = None

    async def _lead(self) -> None:
        logger.info("this instance reads for all")
        try:
            async with asyncio.TaskGroup() as group:
                for duty in self._duties:
                    group.create_task(duty(self._say))
        except* NotReaderError:
            logger.info("another instance reads for all")
        except* Exception:
            logger.exception("reading for all failed; it begins anew")

    async def _say(self, kind: str, data: Document) -> None:
        await self._backplane.publish([(kind, data)], reader=self._token)
