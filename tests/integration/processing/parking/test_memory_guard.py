"""The guard of Redis's memory, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from processing.parking.memory_guard import CACHE_SECONDS, MemoryGuard


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url) as connected:
        yield connected
        await connected.config_set("maxmemory", 0)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_share_is_unknown_without_a_limit(client: Any) -> None:
    """Redis without maxmemory refuses no write."""
    guard = MemoryGuard(client)
    assert await guard.used_share() is None
    assert not await guard.is_full()


async def test_share_is_read_every_few_seconds(client: Any) -> None:
    """Parking thousands of events does not ask thousands of times."""
    clock = Clock()
    guard = MemoryGuard(client, clock=clock)
    used = (await client.info("memory"))["used_memory"]
    await client.config_set("maxmemory", used * 2)
    share = await guard.used_share()
    assert share is not None
    assert 0.3 < share < 0.7
    assert not await guard.is_full()
    await client.config_set("maxmemory", int(used * 1.1))
    clock.now += CACHE_SECONDS - 0.1
    assert await guard.used_share() == share
    clock.now += 0.2
    assert await guard.is_full()


async def test_share_is_unknown_without_the_right_to_ask(client: Any) -> None:
    """An access policy may forbid INFO; then Redis itself refuses what does not fit."""
    await client.config_set("maxmemory", 2**30)
    await client.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-info")
    options = client.connection_pool.connection_kwargs
    async with Redis(
        host=options["host"], port=options["port"], username="app", password="secret"
    ) as restricted:
        assert await MemoryGuard(restricted).used_share() is None
    assert await MemoryGuard(client).used_share() is not None
    await client.execute_command("ACL", "DELUSER", "app")
