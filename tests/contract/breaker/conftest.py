"""All stores with an injected clock."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from breaker import (
    BreakerSettings,
    CircuitStore,
    ManualClock,
    MemoryCircuitStore,
    RedisDependencyStore,
)
from breaker import RedisCircuitStore as RedisStore
from breaker.stores.redis import connect
from tests.support.patience import STORE_SECONDS


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "redis", "redis of a dependency"])
async def store(
    request: pytest.FixtureRequest, clock: ManualClock, redis_url: str
) -> AsyncIterator[CircuitStore]:
    tested: CircuitStore
    if request.param == "memory":
        tested = MemoryCircuitStore("c", now_us=clock.now_us)
    elif request.param == "redis of a dependency":
        client = connect(redis_url, BreakerSettings(store_timeout_seconds=STORE_SECONDS))
        together = RedisDependencyStore(
            client, "c", timeout_seconds=STORE_SECONDS, now_us=clock.now_us
        )
        yield together.circuit("d")
        await client.aclose()
        return
    else:
        tested = RedisStore(redis_url, "c", timeout_seconds=STORE_SECONDS, now_us=clock.now_us)
    yield tested
    await tested.aclose()
