"""Sessions that were ended before their time, so that a copy of the cookie is worth nothing.

Each instance asks once a second for those that others ended: no request waits for Redis, and a
session that is ended on one instance is over on all of them a second later.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from console.backplane.coordination import Coordination
from console.errors import CoordinationError

logger = logging.getLogger(__name__)

REVOKED = "ended"
SECONDS = 1.0
FIRST_SECONDS = 2.0


class RevokedSessions:
    """What this instance knows of them.

    While Redis is away, nobody is locked out for it: those that are known stay ended, what others
    end meanwhile is learned afterwards, and what this one ended is told then.

    Args:
        coordination: tells the other instances.
        clock: the time, in seconds since 1970.
    """

    def __init__(self, coordination: Coordination, clock: Callable[[], float] = time.time) -> None:
        self._coordination = coordination
        self._clock = clock
        self._known: dict[str, float] = {}

    def __contains__(self, session: object) -> bool:
        return session in self._known

    async def revoke(self, session: str, expires: float, *, wait: bool = True) -> None:
        """End a session that would last until `expires` (seconds since 1970), here at once.

        Args:
            session: its id.
            expires: when it would have ended.
            wait: whether to tell the others now; False: they learn of it while this one follows.
        """
        self._known[session] = expires
        if not wait:
            return
        try:
            await self._coordination.add(REVOKED, session, expires)
        except CoordinationError as error:
            logger.warning("other instances learn later that a session was ended: %s", error)

    async def load(self) -> None:
        """Learn what was ended before this instance began; does not wait long for it."""
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                await self._synchronize()
        except (CoordinationError, TimeoutError) as error:
            logger.warning("it is not known yet which sessions were ended: %s", error)

    async def follow(self) -> None:
        """Learn of them for ever."""
        while True:
            await asyncio.sleep(SECONDS)
            try:
                await self._synchronize()
            except CoordinationError as error:
                logger.debug("%s", error)

    async def _synchronize(self) -> None:
        noted = await self._coordination.members(REVOKED)
        now = self._clock()
        self._known = {name: until for name, until in self._known.items() if now < until}
        for session, until in self._known.items() - noted.items():  # Redis was away, or lost them
            await self._coordination.add(REVOKED, session, until)
        self._known |= noted
