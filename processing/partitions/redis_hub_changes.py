"""The hub's changes in Redis: a hash of the hub that was last observed, and a sorted set."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES, explained
from processing.errors import StorageUnavailableError
from processing.formats.keys import hub_keys
from processing.identity import Identity
from processing.partitions.hub_changes import MOST_CHANGES, ChangeKind, HubChange

_SCRIPTS = Path(__file__).parent / "scripts"


class RedisHubChanges:
    """A store of the hub's changes in Redis; see `HubChanges`.

    Args:
        client: a redis.asyncio client; the caller closes it.
        identity: the app.
        ttl_seconds: time after the last observation after which the changes expire.
    """

    def __init__(
        self, client: Redis | RedisCluster, identity: Identity, *, ttl_seconds: int
    ) -> None:
        self._client: Any = client
        self._keys = hub_keys(identity)
        self._ttl = ttl_seconds
        self._observe: Any = client.register_script((_SCRIPTS / "observe_hub.lua").read_text())

    async def observe(
        self, created_ms: int, partitions: int, *, recreated: bool = False
    ) -> list[HubChange]:
        """See `HubChanges.observe`."""
        args = [created_ms, partitions, int(recreated), self._ttl, MOST_CHANGES]
        try:
            found = await self._observe(keys=self._keys, args=args)
        except FAILURES as error:
            raise _unavailable(error) from error
        return _parsed(zip(found[::2], found[1::2], strict=True))

    async def known(self) -> list[HubChange]:
        """See `HubChanges.known`."""
        try:
            found = await self._client.zrevrange(self._keys[1], 0, -1, withscores=True)
        except FAILURES as error:
            raise _unavailable(error) from error
        return _parsed(found)


def _unavailable(error: Exception) -> StorageUnavailableError:
    return StorageUnavailableError(f"changes of the hub: {explained(error)}")


def _parsed(found: Iterable[tuple[bytes, Any]]) -> list[HubChange]:
    """Return the changes; one that a newer version of the app wrote is left out."""
    changes = []
    for text, seen_ms in found:
        with suppress(ValueError):
            kind, created_ms, before, after = bytes(text).decode().split()[:4]
            change = HubChange(
                ChangeKind(kind), int(float(seen_ms)), int(created_ms), int(before), int(after)
            )
            changes.append(change)
    return changes
