"""Presence of open pages and live tails; the elected reader reads the hub only for these."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from console.backplane.coordination import Coordination
from console.errors import CoordinationError

logger = logging.getLogger(__name__)

PAGE, TAIL = "viewers:page", "viewers:tail"
ANNOUNCE_SECONDS = 1.0
MARK_SECONDS = 4.0


class Viewer:
    """One connected browser: its page, and its live tail while that is open."""

    def __init__(self, presence: Presence) -> None:
        self._presence = presence
        self._tail = False

    def watch_tail(self, on: bool) -> None:
        """Open or close the live tail."""
        if on != self._tail:
            self._tail = on
            self._presence.change(tails=1 if on else -1)


class Presence:
    """The open pages and tails of this instance, announced to the other instances.

    Args:
        coordination: holds the marks of one pipeline's pages and tails.
        shared: holds the mark of a page of any pipeline; each page lists all pipelines. None:
            `coordination`.
    """

    def __init__(self, coordination: Coordination, shared: Coordination | None = None) -> None:
        self._coordination = coordination
        self._shared = shared if shared is not coordination else None
        self._pages = 0
        self._tails = 0
        self._changed = asyncio.Event()

    @contextmanager
    def viewer(self) -> Iterator[Viewer]:
        """Count a browser until the block ends."""
        viewer = Viewer(self)
        self.change(pages=1)
        try:
            yield viewer
        finally:
            viewer.watch_tail(False)
            self.change(pages=-1)

    def change(self, *, pages: int = 0, tails: int = 0) -> None:
        """Add to the counts; negative numbers subtract."""
        self._pages += pages
        self._tails += tails
        self._changed.set()

    async def announce(self) -> None:
        """Renew the marks each second while a page is open; other marks expire."""
        while True:
            self._changed.clear()
            try:
                if self._pages:
                    await self._coordination.mark(PAGE, MARK_SECONDS)
                    if self._shared is not None:
                        await self._shared.mark(PAGE, MARK_SECONDS)
                if self._tails:
                    await self._coordination.mark(TAIL, MARK_SECONDS)
            except CoordinationError as error:
                logger.debug("the marks of open pages were not renewed; retrying: %s", error)
            await asyncio.sleep(ANNOUNCE_SECONDS)
            if not self._pages:
                await self._changed.wait()
