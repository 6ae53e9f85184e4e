"""Contract of every store of gaps."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from processing.partitions.gaps import MOST_GAPS, Gap, GapStore, MemoryGapStore
from processing.partitions.redis_gaps import RedisGapStore
from tests.support.processing.parking_stores import OTHER, SOURCE


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[GapStore]:
    """Yield an empty store."""
    if request.param == "memory":
        yield MemoryGapStore()
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as client:
        yield RedisGapStore(client, ttl_seconds=60)


async def record(
    store: GapStore, first: int, last: int, *handled: int, created_ms: int = 1000
) -> tuple[int, int, int] | None:
    """Record a gap, and return its ends and its number of events."""
    gap = await store.record(SOURCE, first, last, created_ms=created_ms, handled=handled)
    return None if gap is None else (gap.first, gap.last, gap.events)


async def test_gap_is_recorded_for_its_partition(store: GapStore) -> None:
    """The gap says when the store has recorded it."""
    gap = await store.record(SOURCE, 2, 51, created_ms=1000, handled=())
    assert gap is not None
    assert gap == Gap(2, 51, gap.seen_ms, 0, 1000)
    assert gap.events == 50
    assert gap.seen_ms > 1_700_000_000_000
    assert await store.gaps(SOURCE) == [gap]
    assert await store.gaps(OTHER) == []


async def test_repeated_gap_is_recorded_once(store: GapStore) -> None:
    """Another instance, or a redelivery, meets the same gap."""
    assert await record(store, 2, 51) == (2, 51, 50)
    assert await record(store, 2, 51) is None
    assert await record(store, 10, 40) is None
    assert len(await store.gaps(SOURCE)) == 1


async def test_wider_gap_adds_the_new_events_only(store: GapStore) -> None:
    """More events can expire before the partition is read again."""
    await record(store, 2, 51)
    assert await record(store, 2, 59) == (52, 59, 8)
    assert [(gap.first, gap.last) for gap in await store.gaps(SOURCE)] == [(52, 59), (2, 51)]


async def test_handled_events_of_a_gap_do_not_count(store: GapStore) -> None:
    """Events above the watermark can be finished before the events below them expire."""
    assert await record(store, 2, 11, 1, 3, 5, 12) == (2, 11, 8)
    assert await record(store, 12, 13, 12, 13) is None


async def test_gap_of_a_recreated_hub_is_no_repeat(store: GapStore) -> None:
    """A recreated hub counts from zero."""
    await record(store, 2, 51)
    assert await record(store, 0, 9, created_ms=2000) == (0, 9, 10)


async def test_number_of_gaps_is_limited(store: GapStore) -> None:
    """The oldest gaps are removed first."""
    for first in range(0, 100 * (MOST_GAPS + 5), 100):
        await record(store, first, first + 9)
    gaps = await store.gaps(SOURCE)
    assert (len(gaps), gaps[0].first) == (MOST_GAPS, 100 * (MOST_GAPS + 4))


async def test_gaps_in_redis_expire(redis_url: str) -> None:
    """A partition that exists no longer leaves nothing in Redis."""
    async with Redis.from_url(redis_url) as client:
        await record(RedisGapStore(client, ttl_seconds=60), 2, 51)
        (key,) = await client.keys("*gaps")
        assert 0 < await client.ttl(key) <= 60
