"""Gaps in Redis: one list per partition, beside the partition's progress."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES, explained
from processing.errors import StorageUnavailableError
from processing.formats.keys import partition_prefix
from processing.identity import Source
from processing.partitions.gaps import MOST_GAPS, Gap

_SCRIPTS = Path(__file__).parent / "scripts"


class RedisGapStore:
    """A store of gaps in Redis; see `GapStore`.

    Args:
        client: a redis.asyncio client; the caller closes it.
        ttl_seconds: time after the latest gap after which a partition's gaps expire.
    """

    def __init__(self, client: Redis | RedisCluster, *, ttl_seconds: int) -> None:
        self._client = client
        self._ttl = ttl_seconds
        self._record = client.register_script((_SCRIPTS / "record_gap.lua").read_text())

    async def record(
        self, source: Source, first: int, last: int, *, created_ms: int, handled: Collection[int]
    ) -> Gap | None:
        """See `GapStore.record`."""
        numbers = " ".join(map(str, handled))
        args: list[int | str] = [self._ttl, MOST_GAPS, first, last, created_ms, numbers]
        try:
            recorded = await self._record([_key(source)], args)
        except FAILURES as error:
            raise _unavailable(source, error) from error
        return next(iter(_parsed([recorded])), None) if recorded else None

    async def gaps(self, source: Source) -> list[Gap]:
        """See `GapStore.gaps`."""
        try:
            found = await self._client.lrange(_key(source), 0, -1)
        except FAILURES as error:
            raise _unavailable(source, error) from error
        return _parsed(found)


def _key(source: Source) -> str:
    return f"{partition_prefix(source)}gaps"


def _parsed(found: Iterable[bytes | str]) -> list[Gap]:
    """Return the gaps; one that a newer version of the app wrote is left out."""
    gaps = []
    for text in found:
        with suppress(TypeError, ValueError):
            gaps.append(Gap(*map(int, text.split()[:5])))
    return gaps


def _unavailable(source: Source, error: Exception) -> StorageUnavailableError:
    return StorageUnavailableError(f"gaps of {source}: {explained(error)}")
