"""The command counter and the port of the original's loop on a real Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from benchmarks import events
from benchmarks.commands import counted
from benchmarks.peers.original import OriginalLoop, concurrently, sequentially
from processing.event import Event


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def admin(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def nothing(event: Event) -> None:
    pass


async def boom(event: Event) -> None:
    raise RuntimeError("boom")


async def test_commands_of_scripts_are_counted_separately(redis: Any, admin: Redis) -> None:
    script = redis.register_script(
        "redis.call('SET', KEYS[1], 1) return redis.call('GET', KEYS[1])"
    )
    await script(["key"], [])

    async def work() -> None:
        await script(["key"], [])
        await redis.get("key")

    count = await counted(admin, work)
    assert count.sent == Counter(evalsha=1, get=1)
    assert count.scripted == Counter(set=1, get=1)
    assert count.total_sent == 2


async def test_original_pushes_each_event_in_order(redis: Any, admin: Redis) -> None:
    loop = OriginalLoop(redis, nothing)
    batch = events.batch(events.new_source(), 0, 6, 2)

    async def work() -> None:
        await loop.process(batch)

    count = await counted(admin, work)
    assert count.sent == Counter(rpush=6)
    assert await redis.lrange("events:key-0001", 0, -1) == [b"1", b"2", b"3"]


async def test_original_retries_three_times_then_counts_a_failure(redis: Any) -> None:
    loop = OriginalLoop(redis, boom)
    await loop.process(events.batch(events.new_source(), 0, 1, 1))
    assert await redis.lrange("events:key-0000", 0, -1) == [
        b"1CAUGHT1",
        b"1CAUGHT2",
        b"1CAUGHT3",
        b"1FAILED",
    ]
    assert loop.dead_letters == ['{"counter": 1}']
    assert await redis.zcard("failures") == 1
    assert not await redis.exists("break")


async def test_original_opens_once_at_its_threshold(redis: Any) -> None:
    loop = OriginalLoop(redis, nothing, threshold=3)
    for _ in range(5):
        await loop.log_failure()
    assert await redis.get("break") == b"true"
    assert await redis.llen("break_log") == 1
    assert await redis.zcard("failures") == 3


async def test_bare_loops_keep_every_key_in_order() -> None:
    seen: list[int] = []

    async def note(event: Event) -> None:
        seen.append(event.sequence_number)

    batch = events.batch(events.new_source(), 0, 20, 3)
    await sequentially(batch, note)
    assert seen == list(range(20))
    seen.clear()
    await concurrently(batch, note, 2)
    assert sorted(seen) == list(range(20))
    for key in range(3):
        assert [number for number in seen if number % 3 == key] == list(range(key, 20, 3))
