"""The heartbeat of the replays in Redis."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES, explained
from processing.deferring.heartbeat import LIFETIME_SECONDS
from processing.errors import StorageUnavailableError
from processing.formats.keys import replays_key
from processing.identity import Identity


class RedisHeartbeat:
    """A heartbeat in Redis: a key whose remaining lifetime shows its age, by Redis's clock.

    Args:
        client: a redis.asyncio client; the caller closes it.
        identity: the app.
    """

    def __init__(self, client: Redis | RedisCluster, identity: Identity) -> None:
        self._client: Any = client
        self._key = replays_key(identity)

    async def beat(self) -> None:
        """See `Heartbeat.beat`."""
        try:
            await self._client.set(self._key, b"1", ex=LIFETIME_SECONDS)
        except FAILURES as error:
            raise _unavailable(error) from error

    async def age(self) -> float | None:
        """See `Heartbeat.age`."""
        try:
            left = int(await self._client.pttl(self._key))
        except FAILURES as error:
            raise _unavailable(error) from error
        return None if left < 0 else max(0.0, LIFETIME_SECONDS - left / 1000)


def _unavailable(error: Exception) -> StorageUnavailableError:
    return StorageUnavailableError(f"heartbeat of the replays: {explained(error)}")
