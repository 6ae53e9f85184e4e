"""Coordination in Redis; the clock of Redis decides when a lease, mark or counter expires."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis, RedisCluster

from console.backplane.coordination import MEMBERS_MAX
from console.backplane.keys import tag_of
from console.backplane.redis_errors import ask
from console.errors import CoordinationError

_SCRIPTS = Path(__file__).parent / "scripts"


class RedisCoordination:
    """Coordination with one Redis key per name, all under the console's hash tag.

    Args:
        client: Redis client, which the caller closes.
        circuit: the circuit's name.
        app: names the app, see `tag_of`; members that an older version stored without an app count.
        timeout_seconds: limit of each command, retries of the client included.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        circuit: str,
        *,
        app: str = "",
        timeout_seconds: float = 2.0,
    ) -> None:
        self._client: Any = client
        self._timeout = timeout_seconds
        self._tag = tag_of(circuit, app)
        self._tags = {tag_of(circuit, ""), self._tag}
        self._acquire, self._release, self._increment, self._add = (
            client.register_script((_SCRIPTS / f"{name}.lua").read_text("utf-8"))
            for name in ("acquire", "release", "increment", "add")
        )

    async def acquire(self, lease: str, token: str, seconds: float) -> bool:
        """See `Coordination.acquire`."""
        milliseconds = max(1, round(seconds * 1000))
        return bool(await self._answer(self._acquire([self._key(lease)], [token, milliseconds])))

    async def release(self, lease: str, token: str) -> None:
        """See `Coordination.release`."""
        await self._answer(self._release([self._key(lease)], [token]))

    async def holder(self, lease: str) -> str:
        """See `Coordination.holder`."""
        return bytes(await self._answer(self._client.get(self._key(lease))) or b"").decode()

    async def mark(self, name: str, seconds: float) -> None:
        """See `Coordination.mark`."""
        milliseconds = max(1, round(seconds * 1000))
        await self._answer(self._client.set(self._key(name), "1", px=milliseconds))

    async def increment(self, name: str, seconds: int) -> int:
        """See `Coordination.increment`."""
        return int(await self._answer(self._increment([self._key(name)], [seconds])))

    async def reset(self, name: str) -> None:
        """See `Coordination.reset`."""
        await self._answer(self._client.delete(self._key(name)))

    async def add(self, name: str, item: str, until: float) -> None:
        """See `Coordination.add`."""
        await self._answer(self._add([self._key(name)], [item, until, MEMBERS_MAX]))

    async def members(self, name: str) -> dict[str, float]:
        """See `Coordination.members`."""
        least = f"({time.time()}"
        found = [
            each
            for tag in sorted(self._tags)
            for each in await self._answer(
                self._client.zrangebyscore(f"{tag}:{name}", least, "+inf", withscores=True)
            )
        ]
        return {bytes(item).decode(): float(until) for item, until in found}

    def _key(self, name: str) -> str:
        return f"{self._tag}:{name}"

    async def _answer(self, awaitable: Awaitable[Any]) -> Any:
        return await ask(awaitable, _failed, self._timeout)


def _failed(why: str) -> CoordinationError:
    return CoordinationError(f"Redis did not answer the console: {why}")
