"""Both stores with an injected clock."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from breaker import CircuitStore, ManualClock, MemoryCircuitStore
from breaker import RedisCircuitStore as RedisStore
from tests.support.patience import STORE_SECONDS


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "redis"])
async def store(
    request: pytest.FixtureRequest, clock: ManualClock, redis_url: str
) -> AsyncIterator[CircuitStore]:
    tested: CircuitStore
    if request.param == "memory":
        tested = MemoryCircuitStore("c", now_us=clock.now_us)
    else:
        tested = RedisStore(redis_url, "c", timeout_seconds=STORE_SECONDS, now_us=clock.now_us)
    yield tested
    await tested.aclose()
