"""Contract of every progress store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from local.services.ports import free_port
from processing.errors import StorageUnavailableError
from processing.identity import Source
from processing.parking.redis import RedisParkingStore
from processing.progress.redis import RedisProgressStore, progress_keys
from processing.progress.store import Mark, Progress, ProgressStore
from tests.support.processing.parking_stores import IDENTITY, OTHER, SOURCE, Stores


@pytest.fixture
def store(stores: Stores) -> ProgressStore:
    return stores.progress


async def claim(stores: Stores, source: Source = SOURCE) -> Progress:
    """Become a partition's owner, and return its progress."""
    return (await stores.parking.claim(source)).progress


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


async def test_instance_that_claimed_last_is_the_owner(stores: Stores) -> None:
    """A commit of an earlier owner returns false, but its completions are kept."""
    store = stores.progress
    first = await claim(stores)
    assert await store.commit(SOURCE, first.owner, Mark(1, 10), [Mark(3, 30)])
    second = await claim(stores)
    assert (second.watermark, second.finished) == (Mark(1, 10), {3: 30})
    assert second.owner > first.owner
    assert not await store.commit(SOURCE, first.owner, Mark(3, 30), [])
    assert await store.commit(SOURCE, second.owner, None, [Mark(5, 50)])
    assert await store.load(SOURCE) == Progress(Mark(3, 30), {5: 50})


async def test_latest_owner_owns_the_partition(stores: Stores) -> None:
    """A lane asks before each further attempt; without a known owner, the lane continues."""
    store = stores.progress
    assert await store.owns(SOURCE, 5)
    first = await claim(stores)
    assert await store.owns(SOURCE, first.owner)
    second = await claim(stores)
    assert not await store.owns(SOURCE, first.owner)
    assert await store.owns(SOURCE, second.owner)
    assert await store.owns(OTHER, first.owner)
    fresh = await store.reset(SOURCE)
    assert not await store.owns(SOURCE, second.owner)
    assert await store.owns(SOURCE, fresh.owner)


async def test_reset_refuses_commits_of_earlier_owners(stores: Stores) -> None:
    """Completions of an earlier owner belong to a hub that no longer exists."""
    store = stores.progress
    first = await claim(stores)
    fresh = await store.reset(SOURCE)
    assert not await store.commit(SOURCE, first.owner, Mark(500, 1), [Mark(502, 1)])
    assert await store.load(SOURCE) == Progress()
    assert await store.commit(SOURCE, fresh.owner, Mark(0, 2), [])


async def test_each_partition_has_its_own_owner(stores: Stores) -> None:
    """A claim on one partition does not change the owner of another."""
    first = await claim(stores)
    await claim(stores, OTHER)
    assert await stores.progress.commit(SOURCE, first.owner, Mark(1, 10), [])


async def test_namespaces_have_separate_progress(redis_url: str) -> None:
    """Two namespaces may have hubs of the same name and use one Redis."""
    async with Redis.from_url(redis_url) as client:
        store = RedisProgressStore(client, ttl_seconds=60)
        west = Source(replace(IDENTITY, namespace="West.example:5671"), "0")
        await store.commit(west, 0, Mark(9, 90), [])
        east = Source(replace(IDENTITY, namespace="east.example"), "0")
        assert (await store.load(east)).watermark is None
        again = Source(replace(IDENTITY, namespace="west.EXAMPLE"), "0")
        assert (await store.load(again)).watermark == Mark(9, 90)


@pytest.fixture
async def emptied(redis_url: str) -> AsyncIterator[tuple[Redis, Stores]]:
    """Yield the stores of a Redis that the test empties."""
    async with Redis.from_url(redis_url) as client:

        def parking(**limits: Any) -> RedisParkingStore:
            return RedisParkingStore(client, ttl_seconds=60, identity=IDENTITY, **limits)

        yield client, Stores(RedisProgressStore(client, ttl_seconds=60), parking)


async def test_owner_can_commit_after_redis_lost_its_data(emptied: tuple[Redis, Stores]) -> None:
    """An emptied Redis has no owner on record and accepts the commit."""
    client, stores = emptied
    await claim(stores)
    owner = (await claim(stores)).owner
    await client.flushall()
    assert await stores.progress.owns(SOURCE, owner)
    assert await stores.progress.commit(SOURCE, owner, Mark(1, 10), [])


async def test_earlier_owner_stays_stale_after_redis_lost_its_data(
    emptied: tuple[Redis, Stores],
) -> None:
    """An instance that claims afterwards has a later token than every earlier owner.

    Among owners that commit without a new claim, the owner with the latest token remains.
    """
    client, stores = emptied
    store = stores.progress
    owners = [(await claim(stores)).owner for _ in range(5)]
    await client.flushall()
    assert await store.commit(SOURCE, owners[-1], Mark(1, 10), [])
    assert not await store.commit(SOURCE, owners[-2], Mark(2, 20), [])
    await client.flushall()
    fresh = (await claim(stores)).owner
    assert not await store.commit(SOURCE, owners[-1], Mark(3, 30), [])
    assert await store.commit(SOURCE, fresh, None, [])


async def test_all_progress_keys_expire(redis_url: str) -> None:
    """Every key has a time to live."""
    async with Redis.from_url(redis_url) as client:
        store = RedisProgressStore(client, ttl_seconds=60)
        await store.commit(SOURCE, 0, Mark(1, 1), [Mark(3, 3)])
        for key in await client.keys():
            assert 0 < await client.ttl(key) <= 60


async def test_claim_renews_the_expiry_of_progress(emptied: tuple[Redis, Stores]) -> None:
    """A batch that is held for days claims its partition repeatedly without a completion."""
    client, stores = emptied
    await stores.progress.commit(SOURCE, 0, Mark(1, 1), [Mark(3, 3)])
    keys = await client.keys()
    for key in keys:
        await client.expire(key, 30)
    await claim(stores)
    assert len(keys) == 2
    assert all([await client.ttl(key) > 30 for key in keys])


async def test_first_claim_and_reset_expire(emptied: tuple[Redis, Stores]) -> None:
    """An idle partition leaves only small values that name its format and its lists."""
    client, stores = emptied
    for source in (SOURCE, OTHER):
        await (claim(stores, source) if source == SOURCE else stores.progress.reset(source))
        (name,) = [key async for key in client.scan_iter(f"*{source.partition}}}:progress:*")]
        assert 0 < await client.ttl(name) <= 60


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
        with pytest.raises(StorageUnavailableError, match="owner failed"):
            await store.owns(SOURCE, 1)
        with pytest.raises(StorageUnavailableError, match="load failed"):
            await store.load(SOURCE)
        with pytest.raises(StorageUnavailableError, match="commit failed"):
            await store.commit(SOURCE, 0, Mark(1, 1), [])
        with pytest.raises(StorageUnavailableError, match="reset failed"):
            await store.reset(SOURCE)


async def test_time_of_the_hubs_creation_is_stored_once(stores: Stores) -> None:
    """The claim returns the time; only a reset replaces a stored time."""
    store = stores.progress
    assert (await claim(stores)).created_ms == 0
    await store.note_created(SOURCE, 1_700_000_000_123)
    await store.note_created(SOURCE, 1_800_000_000_000)
    await store.commit(SOURCE, (await claim(stores)).owner, Mark(5, 50), [])
    claimed = await claim(stores)
    assert (claimed.watermark, claimed.created_ms) == (Mark(5, 50), 1_700_000_000_123)
    assert (await store.load(SOURCE)).created_ms == 1_700_000_000_123
    assert (await store.load(OTHER)).created_ms == 0


async def test_reset_replaces_the_time_of_the_hubs_creation(stores: Stores) -> None:
    """A reset that does not know the time leaves none, so that the next batch stores the time."""
    store = stores.progress
    await store.note_created(SOURCE, 1000)
    assert (await store.reset(SOURCE, 2000)).created_ms == 2000
    assert (await claim(stores)).created_ms == 2000
    await store.reset(SOURCE)
    assert (await claim(stores)).created_ms == 0


async def test_noted_time_expires_with_the_progress(redis_url: str) -> None:
    """A partition without progress does not keep its hash forever."""
    async with Redis.from_url(redis_url) as client:
        await RedisProgressStore(client, ttl_seconds=60).note_created(SOURCE, 1000)
        assert 0 < await client.ttl(progress_keys(SOURCE)[0]) <= 60


async def test_step_of_the_clock_is_stored_beside_the_progress(stores: Stores) -> None:
    """The latest step replaces an earlier one and outlives a reset."""
    store = stores.progress
    await store.commit(SOURCE, 0, Mark(5, 50), [])
    await store.note_step(SOURCE, 1000, 3)
    await store.note_step(SOURCE, 5000, 7)
    step = (await store.load(SOURCE)).step
    assert step is not None
    assert (step.back_ms, step.sequence_number) == (5000, 7)
    assert step.seen_ms > 1_700_000_000_000
    claimed = await claim(stores)
    assert (claimed.step, claimed.watermark) == (None, Mark(5, 50))
    await store.reset(SOURCE)
    assert (await store.load(SOURCE)).step == step
    assert (await store.load(OTHER)).step is None
