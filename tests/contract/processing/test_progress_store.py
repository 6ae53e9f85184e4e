"""Contract of every progress store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from local.services.ports import free_port
from processing.errors import StorageUnavailableError
from processing.identity import Identity, Source
from processing.progress.memory import MemoryProgressStore
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark, Progress, ProgressStore

IDENTITY = Identity("ns.example.net", "events", "$Default")
SOURCE = Source(IDENTITY, "0")
OTHER = Source(IDENTITY, "1")


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ProgressStore]:
    if request.param == "memory":
        yield MemoryProgressStore()
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as client:
        yield RedisProgressStore(client, ttl_seconds=60)


async def test_partition_without_a_commit_has_empty_progress(store: ProgressStore) -> None:
    """A new partition has neither a watermark nor finished events."""
    assert await store.load(SOURCE) == Progress()


async def test_committed_progress_is_loaded_for_its_partition_only(store: ProgressStore) -> None:
    """Another partition has empty progress."""
    await store.commit(SOURCE, 0, Mark(5, 50), [Mark(7, 70), Mark(9, 90)])
    assert await store.load(SOURCE) == Progress(Mark(5, 50), {7: 70, 9: 90})
    assert await store.load(OTHER) == Progress()


async def test_watermark_never_falls(store: ProgressStore) -> None:
    """A late write of an earlier owner cannot lower the watermark."""
    await store.commit(SOURCE, 0, Mark(5, 50), [])
    await store.commit(SOURCE, 0, Mark(3, 30), [Mark(4, 40), Mark(6, 60)])
    await store.commit(SOURCE, 0, None, [])
    assert await store.load(SOURCE) == Progress(Mark(5, 50), {6: 60})


async def test_rising_watermark_removes_the_marks_below(store: ProgressStore) -> None:
    """Only events above the watermark are recorded one by one."""
    await store.commit(SOURCE, 0, None, [Mark(n, n * 10) for n in range(1, 10)])
    await store.commit(SOURCE, 0, Mark(7, 70), [])
    assert await store.load(SOURCE) == Progress(Mark(7, 70), {8: 80, 9: 90})


async def test_commit_can_be_repeated(store: ProgressStore) -> None:
    """A caller repeats a write whose answer was lost."""
    for _ in range(2):
        await store.commit(SOURCE, 0, Mark(1, 10), [Mark(3, 30)])
    assert await store.load(SOURCE) == Progress(Mark(1, 10), {3: 30})


async def test_watermark_can_be_zero(store: ProgressStore) -> None:
    """The first sequence number of a hub is 0."""
    await store.commit(SOURCE, 0, Mark(0, 0), [])
    assert (await store.load(SOURCE)).watermark == Mark(0, 0)


async def test_one_commit_takes_a_large_batch(store: ProgressStore) -> None:
    """5000 completions fit into one commit."""
    marks = [Mark(n, n) for n in range(1, 5001)]
    await store.commit(SOURCE, 0, None, marks)
    assert len((await store.load(SOURCE)).finished) == 5000


async def test_reset_clears_one_partition_only(store: ProgressStore) -> None:
    """Another partition keeps its progress."""
    await store.commit(SOURCE, 0, Mark(5, 50), [Mark(7, 70)])
    await store.commit(OTHER, 0, Mark(1, 10), [])
    await store.reset(SOURCE)
    assert await store.load(SOURCE) == Progress()
    assert (await store.load(OTHER)).watermark == Mark(1, 10)


async def test_instance_that_opened_last_is_the_owner(store: ProgressStore) -> None:
    """A commit of an earlier owner returns false, but its completions are kept."""
    first = await store.open(SOURCE)
    assert await store.commit(SOURCE, first.owner, Mark(1, 10), [Mark(3, 30)])
    second = await store.open(SOURCE)
    assert (second.watermark, second.finished) == (Mark(1, 10), {3: 30})
    assert not await store.commit(SOURCE, first.owner, Mark(3, 30), [])
    assert await store.commit(SOURCE, second.owner, None, [Mark(5, 50)])
    assert await store.load(SOURCE) == Progress(Mark(3, 30), {5: 50})


async def test_reset_refuses_commits_of_earlier_owners(store: ProgressStore) -> None:
    """Completions of an earlier owner belong to a hub that no longer exists."""
    first = await store.open(SOURCE)
    fresh = await store.reset(SOURCE)
    assert not await store.commit(SOURCE, first.owner, Mark(500, 1), [Mark(502, 1)])
    assert await store.load(SOURCE) == Progress()
    assert await store.commit(SOURCE, fresh.owner, Mark(0, 2), [])


async def test_each_partition_has_its_own_owner(store: ProgressStore) -> None:
    """Opening one partition does not change the owner of another."""
    first = await store.open(SOURCE)
    await store.open(OTHER)
    assert await store.commit(SOURCE, first.owner, Mark(1, 10), [])


async def test_namespaces_have_separate_progress(redis_url: str) -> None:
    """Two namespaces may have hubs of the same name and use one Redis."""
    async with Redis.from_url(redis_url) as client:
        store = RedisProgressStore(client, ttl_seconds=60)
        west = Source(replace(IDENTITY, namespace="West.example:5671"), "0")
        await store.commit(west, 0, Mark(9, 90), [])
        east = Source(replace(IDENTITY, namespace="east.example"), "0")
        assert (await store.open(east)).watermark is None
        again = Source(replace(IDENTITY, namespace="west.EXAMPLE"), "0")
        assert (await store.load(again)).watermark == Mark(9, 90)


async def test_owner_can_commit_after_redis_lost_its_data(redis_url: str) -> None:
    """An emptied Redis has no owner on record and accepts the commit."""
    async with Redis.from_url(redis_url) as client:
        store = RedisProgressStore(client, ttl_seconds=60)
        await store.open(SOURCE)
        owner = (await store.open(SOURCE)).owner
        await client.flushall()
        assert await store.commit(SOURCE, owner, Mark(1, 10), [])


async def test_earlier_owner_stays_stale_after_redis_lost_its_data(redis_url: str) -> None:
    """An instance that opens afterwards has a later owner number than every earlier owner.

    Among owners that commit without opening again, the one that opened last is the owner.
    """
    async with Redis.from_url(redis_url) as client:
        store = RedisProgressStore(client, ttl_seconds=60)
        owners = [(await store.open(SOURCE)).owner for _ in range(5)]
        await client.flushall()
        assert await store.commit(SOURCE, owners[-1], Mark(1, 10), [])
        assert not await store.commit(SOURCE, owners[-2], Mark(2, 20), [])
        await client.flushall()
        fresh = (await store.open(SOURCE)).owner
        assert not await store.commit(SOURCE, owners[-1], Mark(3, 30), [])
        assert await store.commit(SOURCE, fresh, None, [])


async def test_all_progress_keys_expire(redis_url: str) -> None:
    """Every key has a time to live."""
    async with Redis.from_url(redis_url) as client:
        store = RedisProgressStore(client, ttl_seconds=60)
        await store.commit(SOURCE, 0, Mark(1, 1), [Mark(3, 3)])
        for key in await client.keys():
            assert 0 < await client.ttl(key) <= 60


async def test_opening_renews_the_expiry_of_progress(redis_url: str) -> None:
    """A batch that is held for days opens its partition repeatedly without a completion."""
    async with Redis.from_url(redis_url) as client:
        store = RedisProgressStore(client, ttl_seconds=60)
        await store.commit(SOURCE, 0, Mark(1, 1), [Mark(3, 3)])
        keys = await client.keys()
        for key in keys:
            await client.expire(key, 30)
        await store.open(SOURCE)
        assert len(keys) == 2
        assert all([await client.ttl(key) > 30 for key in keys])


async def test_scripts_are_loaded_again_after_a_restart(redis_url: str) -> None:
    """A restarted Redis has lost its scripts."""
    async with Redis.from_url(redis_url) as client:
        store = RedisProgressStore(client, ttl_seconds=60)
        await store.commit(SOURCE, 0, Mark(1, 1), [])
        await client.script_flush()
        await store.commit(SOURCE, 0, Mark(2, 2), [])
        assert (await store.load(SOURCE)).watermark == Mark(2, 2)


async def test_unreachable_redis_raises_storage_unavailable() -> None:
    """The driver's own exception must not reach the caller."""
    async with Redis.from_url(f"redis://127.0.0.1:{free_port()}/0") as client:
        store = RedisProgressStore(client, ttl_seconds=60)
        with pytest.raises(StorageUnavailableError, match="open failed"):
            await store.open(SOURCE)
        with pytest.raises(StorageUnavailableError, match="load failed"):
            await store.load(SOURCE)
        with pytest.raises(StorageUnavailableError, match="commit failed"):
            await store.commit(SOURCE, 0, Mark(1, 1), [])
        with pytest.raises(StorageUnavailableError, match="reset failed"):
            await store.reset(SOURCE)
