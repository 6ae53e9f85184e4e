"""Sessions that were revoked before they expired, so that a copied cookie is useless.

Each instance polls once a second for sessions that other instances revoked. No request waits for
Redis, and a session that one instance revoked is refused by all instances a second later.
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
    """The revoked sessions that this instance knows.

    A Redis outage locks nobody out. Known sessions stay revoked; revocations of the outage are
    exchanged with the other instances as soon as Redis answers.

    Args:
        coordination: shares revoked sessions with the other instances.
        clock: the time, in seconds since 1970.
    """

    def __init__(self, coordination: Coordination, clock: Callable[[], float] = time.time) -> None:
        self._coordination = coordination
        self._clock = clock
        self._known: dict[str, float] = {}

    def __contains__(self, session: object) -> bool:
        return session in self._known

    async def revoke(self, session: str, expires: float, *, wait: bool = True) -> None:
        """Revoke a session, on this instance at once.

        Args:
            session: the session's id.
            expires: when the session would have expired, seconds since 1970.
            wait: whether to inform the other instances now; False: the next poll informs them.
        """
        self._known[session] = expires
        if not wait:
            return
        try:
            await self._coordination.add(REVOKED, session, expires)
        except CoordinationError as error:
            logger.warning(
                "a session's revocation is not shared yet; the next poll retries: %s", error
            )

    async def load(self) -> None:
        """Load the sessions revoked before this instance started; give up after two seconds."""
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                await self._synchronize()
        except (CoordinationError, TimeoutError) as error:
            logger.warning("revoked sessions are not loaded yet; the next poll retries: %s", error)

    async def follow(self) -> None:
        """Poll until cancelled."""
        while True:
            await asyncio.sleep(SECONDS)
            try:
                await self._synchronize()
            except CoordinationError as error:
                logger.debug("revoked sessions were not polled; retrying: %s", error)

    async def _synchronize(self) -> None:
        members = await self._coordination.members(REVOKED)
        now = self._clock()
        self._known = {name: until for name, until in self._known.items() if now < until}
        for session, until in self._known.items() - members.items():  # Redis lacks these
            await self._coordination.add(REVOKED, session, until)
        self._known |= members
