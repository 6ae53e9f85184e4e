"""A late event loop is not taken for a silent Redis by the stores that have a timeout."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from processing.identity import Identity
from processing.migration.migration import Migration
from processing.parking.redis import RedisParkingStore
from processing.poison.index.redis import RedisPoisonIndex
from processing.progress.redis import RedisProgressStore
from processing.redrive.redis_run_store import RedisRunStore

TIMEOUT = 0.1
IDENTITY = Identity("ns.example.net", "events", "$Default")

type Call = Callable[[], Awaitable[object]]


def poison_index(client: Redis) -> Call:
    return RedisPoisonIndex(client, IDENTITY, timeout_seconds=TIMEOUT).state


def running_redrives(client: Redis) -> Call:
    return RedisRunStore(client, IDENTITY, timeout_seconds=TIMEOUT).running


def parked_lists(client: Redis) -> Call:
    store = RedisParkingStore(
        client, most=10, ttl_seconds=60, identity=IDENTITY, query_timeout_seconds=TIMEOUT
    )
    return store.sources


def migration(client: Redis) -> Call:
    progress = RedisProgressStore(client, ttl_seconds=60)
    names = {"namespace": "ns.example.net", "hub": "events", "consumer_group": "$Default"}
    migration = Migration(client, progress, IDENTITY, **names, ttl_seconds=60)
    return lambda: migration.ensure(timeout_seconds=TIMEOUT)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.mark.parametrize("store", [poison_index, running_redrives, parked_lists, migration])
async def test_call_waits_for_its_answer_over_a_blocked_loop(
    client: Redis, store: Callable[[Redis], Call]
) -> None:
    call = store(client)
    await call()  # connects

    async def block() -> None:
        time.sleep(3 * TIMEOUT)  # noqa: ASYNC251 - as a handler that blocks

    await asyncio.gather(call(), block())
