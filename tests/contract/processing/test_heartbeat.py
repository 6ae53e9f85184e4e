"""Contract of the heartbeat of the replays' timer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from local.services.ports import free_port
from processing.deferring.heartbeat import Heartbeat, MemoryHeartbeat
from processing.deferring.heartbeat_redis import RedisHeartbeat
from processing.errors import StorageUnavailableError
from processing.identity import Identity

IDENTITY = Identity("ns.example.net", "events", "$Default")


@pytest.fixture(params=["memory", "redis"])
async def heartbeat(request: pytest.FixtureRequest) -> AsyncIterator[Heartbeat]:
    if request.param == "memory":
        yield MemoryHeartbeat()
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as client:
        yield RedisHeartbeat(client, IDENTITY)


async def test_age_is_unknown_before_the_first_run(heartbeat: Heartbeat) -> None:
    """An app that was just deployed has no age."""
    assert await heartbeat.age() is None


async def test_age_counts_from_the_last_run(heartbeat: Heartbeat) -> None:
    """A repeat begins again."""
    await heartbeat.beat()
    await heartbeat.beat()
    age = await heartbeat.age()
    assert age is not None
    assert 0 <= age < 60


async def test_every_instance_of_the_app_sees_the_same_age(redis_url: str) -> None:
    """The timer runs on one instance; another app has its own."""
    async with Redis.from_url(redis_url) as client:
        await RedisHeartbeat(client, IDENTITY).beat()
        await client.pexpire("breakwater:{ns.example.net/events/$default/default}:replays", 1000)
        age = await RedisHeartbeat(client, IDENTITY).age()
        assert age is not None
        assert age > 24 * 3600 - 2
        other = Identity("ns.example.net", "other", "$Default")
        assert await RedisHeartbeat(client, other).age() is None


async def test_unreachable_redis_raises() -> None:
    """Health reports it."""
    async with Redis(port=free_port(), retry=Retry(NoBackoff(), 0)) as client:
        heartbeat = RedisHeartbeat(client, IDENTITY)
        with pytest.raises(StorageUnavailableError, match="heartbeat of the replays"):
            await heartbeat.beat()
        with pytest.raises(StorageUnavailableError, match="heartbeat of the replays"):
            await heartbeat.age()
