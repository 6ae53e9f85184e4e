"""The parking stores and the progress stores that the contract tests run on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from processing.parking.memory import MemoryParkingStore
from processing.parking.redis import RedisParkingStore
from processing.progress.memory import MemoryProgressStore
from processing.progress.redis import RedisProgressStore
from tests.support.processing.parking_stores import IDENTITY, Stores


@pytest.fixture(params=["memory", "redis"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """Yield a parking store and the progress store that it works with."""
    if request.param == "memory":
        progress = MemoryProgressStore()
        yield Stores(progress, lambda **limits: MemoryParkingStore(progress, **limits))
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as client:

        def parking(**limits: Any) -> RedisParkingStore:
            return RedisParkingStore(client, ttl_seconds=60, identity=IDENTITY, **limits)

        yield Stores(RedisProgressStore(client, ttl_seconds=60), parking)
