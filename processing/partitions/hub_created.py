"""The time at which the hub was created, as this instance last read it from the hub.

A hub that is deleted and created again under the same name has another time. The survey of the
partitions reads the time with every round; an instance that does not survey reads the time itself.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

READ_SECONDS = 15.0
"""Age after which the time is read again."""


class HubCreated:
    """The hub's time of creation, shared by the processor and the background work of an instance.

    Args:
        read: reads the time from the hub, milliseconds since 1970; it raises
            `StorageUnavailableError` if the hub does not answer.
        clock: returns seconds that never decrease.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[int]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._clock = clock
        self._reading = asyncio.Lock()
        self._at = 0.0
        self._created_ms = 0

    @property
    def created_ms(self) -> int:
        """The time that was last read, milliseconds since 1970; 0: the hub was not asked yet."""
        return self._created_ms

    @property
    def age(self) -> float:
        """Seconds since the time was last read."""
        return self._clock() - self._at if self._created_ms else math.inf

    def note(self, created_ms: int) -> None:
        """Note the time that another request to the hub has brought."""
        self._created_ms, self._at = created_ms, self._clock()

    async def latest(self, *, within_seconds: float = READ_SECONDS) -> int:
        """Return the time of creation, and ask the hub if the time was read too long ago.

        Several calls at once cause one request.

        Args:
            within_seconds: greatest age of the answer; 0: the hub is asked after the call began.

        Raises:
            StorageUnavailableError: the hub did not answer.
        """
        asked = self._clock()
        async with self._reading:
            if self._created_ms == 0 or self._at < asked - within_seconds:
                began = self._clock()
                created_ms = await self._read()
                self._created_ms, self._at = created_ms, began
            return self._created_ms
