"""Vitals in Redis: a bounded stream that all instances write to, and its reader."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES
from processing.errors import StorageUnavailableError
from processing.monitoring.vitals import VitalsEntry, vitals_key

RECORDS = 5_000
LIFETIME_SECONDS = 3_600
READ = 1_000
"""Greatest number of entries of one read."""


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


class RedisVitalsReader:
    """A reader of all instances' vitals.

    Args:
        client: a redis.asyncio client; the caller closes it.
        circuit: the circuit's name, part of the stream's name.
    """

    def __init__(self, client: Redis | RedisCluster, circuit: str) -> None:
        self._client: Any = client
        self._key = vitals_key(circuit)

    async def behind(self, cursor: str) -> list[VitalsEntry]:
        """Return up to `READ` entries after a cursor, oldest first.

        Raises:
            StorageUnavailableError: the entries could not be read.
        """
        try:
            found = await self._client.xrange(self._key, f"({cursor}", count=READ)
        except FAILURES as error:
            raise StorageUnavailableError(f"vitals: {type(error).__name__}: {error}") from error
        return [
            VitalsEntry(bytes(id_).decode(), bytes(fields[b"instance"]).decode(), _numbers(fields))
            for id_, fields in found
        ]

    async def end(self) -> str:
        """Return the cursor of the last entry.

        Raises:
            StorageUnavailableError: the entry could not be read.
        """
        try:
            found = await self._client.xrevrange(self._key, count=1)
        except FAILURES as error:
            raise StorageUnavailableError(f"vitals: {type(error).__name__}: {error}") from error
        return bytes(found[0][0]).decode() if found else "0-0"


def _numbers(fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    found = json.loads(fields[b"data"])
    return found if isinstance(found, dict) else {}
