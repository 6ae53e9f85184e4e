"""Who looks at what: the elected reader reads the hub only while somebody looks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from console.backplane.coordination import Coordination
from console.errors import CoordinationError

logger = logging.getLogger(__name__)

PAGE, TAIL = "viewers:page", "viewers:tail"
SAY_SECONDS = 1.0
LAST_SECONDS = 4.0


class Watching:
    """One browser; leaving it is leaving everything."""

    def __init__(self, watchers: Watchers) -> None:
        self._watchers = watchers
        self._tail = False

    def tail(self, on: bool) -> None:
        """Look at the live tail, or no longer."""
        if on != self._tail:
            self._tail = on
            self._watchers.changed(tails=1 if on else -1)


class Watchers:
    """The browsers of this instance, told to the other instances while there are any."""

    def __init__(self, coordination: Coordination) -> None:
        self._coordination = coordination
        self._pages = 0
        self._tails = 0
        self._news = asyncio.Event()

    @contextmanager
    def watching(self) -> Iterator[Watching]:
        """A browser, for as long as it is connected."""
        browser = Watching(self)
        self.changed(pages=1)
        try:
            yield browser
        finally:
            browser.tail(False)
            self.changed(pages=-1)

    def changed(self, *, pages: int = 0, tails: int = 0) -> None:
        """So many more look."""
        self._pages += pages
        self._tails += tails
        self._news.set()

    async def tell_for_ever(self) -> None:
        """Say each second who looks; what is not said any more ends by itself."""
        while True:
            self._news.clear()
            try:
                if self._pages:
                    await self._coordination.mark(PAGE, LAST_SECONDS)
                if self._tails:
                    await self._coordination.mark(TAIL, LAST_SECONDS)
            except CoordinationError as error:
                logger.debug("%s", error)
            await asyncio.sleep(SAY_SECONDS)
            if not self._pages:
                await self._news.wait()
