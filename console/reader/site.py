"""The reader task that publishes what is seen of the function app."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from console.backplane.coordination import Coordination
from console.circuit.site import app_document
from console.errors import BackplaneError, CoordinationError
from console.live.presence import PAGE
from console.reader.election import Publish
from processing.site.statement import Seen
from processing.site.watch import SiteWatch

logger = logging.getLogger(__name__)

APP = "app"
LOOK_SECONDS = 1.0
PUBLISH_SECONDS = 5.0
STATE_SECONDS = 30.0
STATE_SECONDS_BUSY = 5.0
BUSY_SECONDS = 300.0
"""After a stop, a start or a change of the circuit the state is read more often, for this time."""


class SiteTask:
    """A poller of the app's state and of the record, for all pages.

    Args:
        coordination: holds the marks of open pages.
        watch: collects what is seen.
        now: returns the time, seconds since the epoch.
    """

    def __init__(
        self,
        coordination: Coordination,
        watch: SiteWatch,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._coordination = coordination
        self._watch = watch
        self._now = now

    async def run(self, publish: Publish) -> None:
        """Publish each change at once, and the unchanged statement each `PUBLISH_SECONDS`."""
        reading: asyncio.Task[None] | None = None
        asked, published, shown = 0.0, 0.0, None
        try:
            while True:
                if await self._is_page_open():
                    seen = await self._watch.look()
                    now = self._now()
                    if (reading is None or reading.done()) and now - asked >= pause_of(seen):
                        asked = now
                        # A slow answer must not delay what the instances and the store say.
                        reading = asyncio.create_task(self._read(), name="console-app-state")
                    document = app_document(seen)
                    lasting = document | {"time": 0}
                    if lasting != shown or now - published >= PUBLISH_SECONDS:
                        await _publish_or_skip(publish, document)
                        published, shown = now, lasting
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            await self._watch.read_state()
        except Exception:
            logger.exception("the app's state was not read; the next round retries")

    async def _is_page_open(self) -> bool:
        try:
            return bool(await self._coordination.holder(PAGE))
        except CoordinationError:
            return False


def pause_of(seen: Seen) -> float:
    """Return the seconds between two reads of the app's state."""
    chain = seen.chain
    steps = (chain.stop, chain.start) if chain is not None else ()
    moments = [seen.circuit.changed_at or 0.0, *(step.at for step in steps if step is not None)]
    busy = seen.now - max(moments) < BUSY_SECONDS
    return STATE_SECONDS_BUSY if busy else STATE_SECONDS


async def _publish_or_skip(publish: Publish, document: dict[str, Any]) -> None:
    try:
        await publish(APP, document)
    except BackplaneError as error:
        logger.debug("what is seen of the app was not published: %s", error)
