"""The guard of Redis's memory: parking stops before Redis is full."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES
from processing.errors import ParkingFullError
from processing.identity import Source

FULL_SHARE = 0.75
"""Share of maxmemory above which no event is parked or deferred."""
CACHE_SECONDS = 5.0


class MemoryGuard:
    """The share of Redis's memory that is used, cached for `CACHE_SECONDS`.

    The share is unknown if Redis has no maxmemory, or forbids INFO; then nothing is refused before
    Redis itself refuses a write.

    Args:
        client: a redis.asyncio client; the caller closes it.
        clock: returns the time in seconds.
    """

    def __init__(
        self, client: Redis | RedisCluster, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client: Any = client
        self._clock = clock
        self._share: float | None = None
        self._until = 0.0

    async def used_share(self) -> float | None:
        """Return used memory as a share of maxmemory; None: unknown."""
        if self._clock() >= self._until:
            self._share = await self._ask()
            self._until = self._clock() + CACHE_SECONDS
        return self._share

    async def is_full(self) -> bool:
        """Return whether parking must stop."""
        share = await self.used_share()
        return share is not None and share > FULL_SHARE

    async def _ask(self) -> float | None:
        try:
            if isinstance(self._client, RedisCluster):
                found = await self._client.info("memory", target_nodes=RedisCluster.PRIMARIES)
            else:
                found = await self._client.info("memory")
        except FAILURES:  # the write itself shows whether Redis is away
            return None
        nodes = [found] if "used_memory" in found else list(found.values())
        return max(filter(None, map(_share, nodes)), default=None)


def redis_full(source: Source, why: str) -> ParkingFullError:
    """Return the error for a Redis whose memory does not take further parked events."""
    return ParkingFullError(
        f"partition {source}: {why}, so Redis's memory takes no further parked event; the "
        "partition holds until replays, a redrive or a larger Redis have made room"
    )


def guard_full(source: Source) -> ParkingFullError:
    """Return the error for a Redis whose memory is nearly full."""
    return redis_full(source, f"more than {FULL_SHARE:.0%} of Redis's maxmemory is used")


def _share(info: Mapping[str, Any]) -> float | None:
    used, most = info.get("used_memory"), info.get("maxmemory")
    return used / most if used is not None and most else None
