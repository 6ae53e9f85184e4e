"""One suite for every progress store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from local.services.ports import free_port
from processing.errors import StorageUnavailableError
from processing.event import Source
from processing.progress.memory import MemoryProgressStore
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark, Progress, ProgressStore

SOURCE = Source("events", "$Default", "0")
OTHER = Source("events", "$Default", "1")


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ProgressStore]:
    if request.param == "memory":
        yield MemoryProgressStore()
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as client:
        yield RedisProgressStore(client, ttl_seconds=60)


async def test_nothing_is_known_at_first(store: ProgressStore) -> None:
    """An unknown partition has empty progress."""
    assert await store.load(SOURCE) == Progress()


async def test_commit_and_load(store: ProgressStore) -> None:
    """What is committed is loaded, for its partition only."""
    await store.commit(SOURCE, 0, Mark(5, 50), [Mark(7, 70), Mark(9, 90)])
    assert await store.load(SOURCE) == Progress(Mark(5, 50), {7: 70, 9: 90})
    assert await store.load(OTHER) == Progress()


async def test_watermark_never_falls(store: ProgressStore) -> None:
    """A late write of an earlier owner cannot lower the watermark."""
    await store.commit(SOURCE, 0, Mark(5, 50), [])
    await store.commit(SOURCE, 0, Mark(3, 30), [Mark(4, 40), Mark(6, 60)])
    await store.commit(SOURCE, 0, None, [])
    assert await store.load(SOURCE) == Progress(Mark(5, 50), {6: 60})


async def test_rising_watermark_forgets_what_it_passed(store: ProgressStore) -> None:
    """Only what is above the watermark is remembered one by one."""
    await store.commit(SOURCE, 0, None, [Mark(n, n * 10) for n in range(1, 10)])
    await store.commit(SOURCE, 0, Mark(7, 70), [])
    assert await store.load(SOURCE) == Progress(Mark(7, 70), {8: 80, 9: 90})


async def test_commit_is_repeat_safe(store: ProgressStore) -> None:
    """A write whose answer was lost may be made again."""
    for _ in range(2):
        await store.commit(SOURCE, 0, Mark(1, 10), [Mark(3, 30)])
    assert await store.load(SOURCE) == Progress(Mark(1, 10), {3: 30})


async def test_watermark_zero(store: ProgressStore) -> None:
    """A hub's first sequence number is 0 and is a watermark like any other."""
    await store.commit(SOURCE, 0, Mark(0, 0), [])
    assert (await store.load(SOURCE)).watermark == Mark(0, 0)


async def test_many_at_once(store: ProgressStore) -> None:
    """A large batch's completions fit into one commit."""
    marks = [Mark(n, n) for n in range(1, 5001)]
    await store.commit(SOURCE, 0, None, marks)
    assert len((await store.load(SOURCE)).finished) == 5000


async def test_reset(store: ProgressStore) -> None:
    """Reset forgets a partition and only that one."""
    await store.commit(SOURCE, 0, Mark(5, 50), [Mark(7, 70)])
    await store.commit(OTHER, 0, Mark(1, 10), [])
    await store.reset(SOURCE)
    assert await store.load(SOURCE) == Progress()
    assert (await store.load(OTHER)).watermark == Mark(1, 10)


async def test_the_latest_to_open_is_the_owner(store: ProgressStore) -> None:
    """An earlier owner learns that it is stale; what it finished is finished all the same."""
    first = await store.open(SOURCE)
    assert await store.commit(SOURCE, first.owner, Mark(1, 10), [Mark(3, 30)])
    second = await store.open(SOURCE)
    assert (second.watermark, second.finished) == (Mark(1, 10), {3: 30})
    assert not await store.commit(SOURCE, first.owner, Mark(3, 30), [])
    assert await store.commit(SOURCE, second.owner, None, [Mark(5, 50)])
    assert await store.load(SOURCE) == Progress(Mark(3, 30), {5: 50})


async def test_a_reset_shuts_earlier_owners_out(store: ProgressStore) -> None:
    """What they finished belongs to a hub that is gone."""
    first = await store.open(SOURCE)
    fresh = await store.reset(SOURCE)
    assert not await store.commit(SOURCE, first.owner, Mark(500, 1), [Mark(502, 1)])
    assert await store.load(SOURCE) == Progress()
    assert await store.commit(SOURCE, fresh.owner, Mark(0, 2), [])


async def test_partitions_have_owners_of_their_own(store: ProgressStore) -> None:
    """Opening one partition makes nobody stale on another."""
    first = await store.open(SOURCE)
    await store.open(OTHER)
    assert await store.commit(SOURCE, first.owner, Mark(1, 10), [])


async def test_namespaces_are_apart(redis_url: str) -> None:
    """Hubs of the same name in two namespaces on one Redis count their own events."""
    async with Redis.from_url(redis_url) as client:
        west = RedisProgressStore(client, ttl_seconds=60, namespace="West.example")
        await west.commit(SOURCE, 0, Mark(9, 90), [])
        east = RedisProgressStore(client, ttl_seconds=60, namespace="east.example")
        assert (await east.open(SOURCE)).watermark is None
        again = RedisProgressStore(client, ttl_seconds=60, namespace="west.example")
        assert (await again.load(SOURCE)).watermark == Mark(9, 90)


async def test_a_store_that_lost_its_data(redis_url: str) -> None:
    """An emptied Redis knows no owner: whoever writes goes on."""
    async with Redis.from_url(redis_url) as client:
        store = RedisProgressStore(client, ttl_seconds=60)
        await store.open(SOURCE)
        owner = (await store.open(SOURCE)).owner
        await client.flushall()
        assert await store.commit(SOURCE, owner, Mark(1, 10), [])


async def test_an_earlier_owner_of_a_store_that_lost_its_data(redis_url: str) -> None:
    """However often the partition was opened before, whoever opens it afterwards is the later one,
    and so is, of two that go on without opening it, the one that did so last.
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


async def test_redis_keys_expire(redis_url: str) -> None:
    """No key stays for ever."""
    async with Redis.from_url(redis_url) as client:
        store = RedisProgressStore(client, ttl_seconds=60)
        await store.commit(SOURCE, 0, Mark(1, 1), [Mark(3, 3)])
        for key in await client.keys():
            assert 0 < await client.ttl(key) <= 60


async def test_a_held_batch_keeps_its_progress(redis_url: str) -> None:
    """A batch that is opened again and again without a completion, for days, forgets nothing."""
    async with Redis.from_url(redis_url) as client:
        store = RedisProgressStore(client, ttl_seconds=60)
        await store.commit(SOURCE, 0, Mark(1, 1), [Mark(3, 3)])
        keys = await client.keys()
        for key in keys:
            await client.expire(key, 30)
        await store.open(SOURCE)
        assert len(keys) == 2
        assert all([await client.ttl(key) > 30 for key in keys])


async def test_scripts_forgotten_by_the_server(redis_url: str) -> None:
    """A restarted server forgets scripts; they are loaded again."""
    async with Redis.from_url(redis_url) as client:
        store = RedisProgressStore(client, ttl_seconds=60)
        await store.commit(SOURCE, 0, Mark(1, 1), [])
        await client.script_flush()
        await store.commit(SOURCE, 0, Mark(2, 2), [])
        assert (await store.load(SOURCE)).watermark == Mark(2, 2)


async def test_unreachable_redis() -> None:
    """A driver's exception never reaches the caller as such."""
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
