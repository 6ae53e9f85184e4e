"""Vitals in Redis: a bounded stream that all instances write to, and its reader."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES, explained
from processing.errors import StorageUnavailableError
from processing.monitoring.vitals import VitalsEntry, readable_numbers, vitals_key

logger = logging.getLogger(__name__)

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
        app: the digest of the app's identity; apps may share a circuit.
    """

    def __init__(
        self, client: Redis | RedisCluster, circuit: str, instance: str, app: str = ""
    ) -> None:
        self._client = client
        self._key = vitals_key(circuit)
        self._names: dict[Any, Any] = {"instance": instance}
        if app:
            self._names["app"] = app

    async def write(self, record: str) -> None:
        """Add a record (JSON).

        Raises:
            StorageUnavailableError: the record could not be written.
        """
        try:
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.xadd(
                    self._key,
                    {**self._names, "data": record},
                    maxlen=RECORDS,
                    approximate=True,
                )
                pipe.expire(self._key, LIFETIME_SECONDS)
                await pipe.execute()
        except FAILURES as error:
            raise StorageUnavailableError(f"vitals: {explained(error)}") from error


class RedisVitalsReader:
    """A reader of the vitals of all instances of an app.

    Args:
        client: a redis.asyncio client; the caller closes it.
        circuit: the circuit's name, part of the stream's name.
        app: the digest of the app's identity. The reader returns the entries of this app, and those
            of an older version, which name no app. "": it returns all entries.
    """

    def __init__(self, client: Redis | RedisCluster, circuit: str, app: str = "") -> None:
        self._client: Any = client
        self._app = app.encode()
        self._key = vitals_key(circuit)

    async def behind(self, cursor: str) -> list[VitalsEntry]:
        """Return up to `READ` entries after a cursor, oldest first; empty only at the end.

        Raises:
            StorageUnavailableError: the entries could not be read.
        """
        while True:
            try:
                found = await self._client.xrange(self._key, f"({cursor}", count=READ)
            except FAILURES as error:
                raise StorageUnavailableError(f"vitals: {explained(error)}") from error
            own = [_entry(id_, fields) for id_, fields in found if self._is_own(fields)]
            read = [each for each in own if each is not None]
            if read or not found:
                return read
            cursor = bytes(found[-1][0]).decode()

    def _is_own(self, fields: Mapping[bytes, bytes]) -> bool:
        return not self._app or fields.get(b"app", self._app) == self._app

    async def end(self) -> str:
        """Return the cursor of the last entry.

        Raises:
            StorageUnavailableError: the entry could not be read.
        """
        try:
            found = await self._client.xrevrange(self._key, count=1)
        except FAILURES as error:
            raise StorageUnavailableError(f"vitals: {explained(error)}") from error
        return bytes(found[0][0]).decode() if found else "0-0"


def _entry(id_: bytes, fields: Mapping[bytes, bytes]) -> VitalsEntry | None:
    """Return an entry without the values that are no numbers; None: the entry is unreadable."""
    try:
        instance, found = bytes(fields[b"instance"]).decode(), json.loads(fields[b"data"])
    except (KeyError, ValueError) as error:
        logger.debug("an entry of the vitals is left out: %s: %s", type(error).__name__, error)
        return None
    return VitalsEntry(bytes(id_).decode(), instance, readable_numbers(found))
