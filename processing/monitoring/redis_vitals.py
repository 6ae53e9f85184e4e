"""Vitals in Redis: a bounded stream that all instances write to."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES
from processing.errors import StorageUnavailableError
from processing.monitoring.vitals import vitals_key

RECORDS = 5_000
LIFETIME_SECONDS = 3_600


class RedisVitals:
    """A writer of one instance's vitals.

    Args:
        client: a redis.asyncio client; the caller closes it.
        circuit: the circuit's name, part of the stream's name.
        instance: this instance's name.
    """

    def __init__(self, client: Redis | RedisCluster, circuit: str, instance: str) -> None:
        self._client = client
        self._key = vitals_key(circuit)
        self._instance = instance

    async def write(self, record: str) -> None:
        """Add a record (JSON).

        Raises:
            StorageUnavailableError: the record could not be written.
        """
        try:
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.xadd(
                    self._key,
                    {"instance": self._instance, "data": record},
                    maxlen=RECORDS,
                    approximate=True,
                )
                pipe.expire(self._key, LIFETIME_SECONDS)
                await pipe.execute()
        except FAILURES as error:
            raise StorageUnavailableError(f"vitals: {type(error).__name__}: {error}") from error
