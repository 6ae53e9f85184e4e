"""Parked lists in a real Redis: odd keys, and what format 2 left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from processing.parking.redis import RedisParkingStore
from processing.parking.redis_names import parking_keys
from processing.parking.store import WritingAs
from tests.support.processing.parking_stores import DEFERRAL, IDENTITY, SOURCE, at

ODD_KEYS = (
    *("", "\x00", "a\x00b", "#1", "=x", "null", "é", "\U0001f600", "\u2028", '"', "\\", "\\u0041"),
    *("\x7f", "\x1b[0m", "{tag}", "a b", "\n", "[1]", "0", "k" * 128, "\ufffd", "\uffff"),
)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


def opened(client: Redis) -> RedisParkingStore:
    return RedisParkingStore(client, most=100_000, ttl_seconds=60, identity=IDENTITY)


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_key_with_any_text_is_deferred_and_found(client: Redis, key: str) -> None:
    store = opened(client)
    claim = await store.claim(SOURCE, [key])
    writing = WritingAs(claim.owner, "")
    await store.defer(writing, SOURCE, key, (at(1), "e1"), deferral=DEFERRAL, pause_seconds=0)
    again = await store.claim(SOURCE, ["other", key, None])
    assert again.parked == {key}
    assert again.due == (key,)
    assert list(again.latest) == [key]
    lease = await store.lease(SOURCE, key, "token", 60_000)
    assert lease is not None
    assert lease.deferral is not None
    assert await store.finish(SOURCE, key, "token", at(1), epoch=lease.epoch) == 0
    last = await store.claim(SOURCE, [key, None])
    assert (last.parked, set(last.replayed), last.due) == (frozenset(), {key}, ())


async def test_owner_of_format_2_cannot_park_after_a_claim(client: Redis) -> None:
    """Its scripts compare a token of their own, which a claim of this version must end."""
    (owner,) = parking_keys(SOURCE, "owner")
    await client.set(owner, "token of format 2")
    await opened(client).claim(SOURCE)
    assert await client.get(owner) is None


async def test_deferral_that_cannot_be_read_does_not_keep_its_key(client: Redis) -> None:
    """The key is replayed as if it had failed once; listings show why its history is unknown."""
    store = opened(client)
    claim = await store.claim(SOURCE, ["k"])
    writing = WritingAs(claim.owner, "")
    await store.defer(writing, SOURCE, "k", (at(1), "e1"), deferral=DEFERRAL, pause_seconds=0)
    (deferred,) = parking_keys(SOURCE, "deferred")
    await client.hset(deferred, "=k", "1700000000000000 {}")
    lease = await store.lease(SOURCE, "k", "token", 60_000)
    assert lease is not None
    assert lease.deferral is not None
    assert "not a deferral" in lease.deferral.error
    assert [each.key for each in await store.keys()] == ["k"]
