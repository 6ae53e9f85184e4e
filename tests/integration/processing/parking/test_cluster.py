"""Parked lists and progress on a Redis Cluster (the OSS clustering policy)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio.cluster import RedisCluster

from processing.errors import ParkingFullError
from processing.parking.memory_guard import MemoryGuard
from processing.parking.redis import RedisParkingStore
from processing.parking.store import WritingAs
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark
from tests.support.processing.parking_stores import (
    DEFERRAL,
    IDENTITY,
    SOURCE,
    at,
    defer,
    leased,
    park_key,
    positions,
)


@pytest.fixture
async def client(redis_cluster: str) -> AsyncIterator[Any]:
    """Yield a client of the empty cluster, whose memory has no limit."""
    async with RedisCluster.from_url(redis_cluster) as connected:
        await connected.flushall(target_nodes=RedisCluster.PRIMARIES)
        yield connected
        await connected.config_set("maxmemory", 0, target_nodes=RedisCluster.PRIMARIES)


async def test_cluster_runs_all_scripts(client: Any) -> None:
    """All keys of a partition are in one slot; the claim checks read several slots' nodes."""
    store = RedisParkingStore(client, most=10, ttl_seconds=60, identity=IDENTITY)
    progress = RedisProgressStore(client, ttl_seconds=60)
    writing = await park_key(store, "k", 11)
    await defer(store, writing, "j", 12)
    assert await progress.commit(SOURCE, writing.owner, Mark(1, 1), [Mark(3, 3)])
    claim = await store.claim(SOURCE, ["k", "j"], generation=1)
    assert claim.parked == {"k", "j"}
    assert claim.due == ("j",)
    assert {each.key for each in await store.keys()} == {"k", "j"}
    await leased(store, "j")
    await store.postpone(SOURCE, "j", "t", DEFERRAL, 5)
    await store.replace(SOURCE, "j", "t", at(12), "Pp")
    assert await store.finish(SOURCE, "j", "t", at(12), "v") == 0
    assert await store.due(SOURCE, most=9) == []
    assert (await store.summary(SOURCE)).events == 2
    assert await progress.owns(SOURCE, claim.owner)
    await progress.reset(SOURCE)


@pytest.mark.parametrize("confirms_first", [True, False])
async def test_cluster_expects_no_confirmation(client: Any, confirms_first: bool) -> None:
    """WAIT must follow the write on one connection, which the cluster's client does not offer."""
    store = RedisParkingStore(
        client, most=10, ttl_seconds=60, identity=IDENTITY, replicas=1, confirm_milliseconds=20
    )
    if confirms_first:
        assert not await store.confirm()
    await park_key(store, "k", 11)
    assert await positions(store) == [at(10), at(11)]


async def test_guard_asks_the_primaries(client: Any) -> None:
    """The fullest primary decides."""
    assert await MemoryGuard(client).used_share() is None
    used = await client.info("memory", target_nodes=RedisCluster.PRIMARIES)
    await client.config_set("maxmemory", int(used["used_memory"] * 1.1), target_nodes="primaries")
    assert await MemoryGuard(client).is_full()
    store = RedisParkingStore(client, most=10, ttl_seconds=60, identity=IDENTITY)
    writing = WritingAs((await store.claim(SOURCE)).owner, "")
    with pytest.raises(ParkingFullError, match="75% of Redis's maxmemory"):
        await store.poison(writing, SOURCE, "k", at(10), "p")
