"""The keys that Redis keeps for parked lists, and their expiry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from processing.parking.redis import RedisParkingStore
from processing.parking.store import WritingAs
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark
from tests.support.processing.parking_stores import (
    FIRST_MS,
    IDENTITY,
    LEASE_MS,
    SOURCE,
    at,
    claimed,
    defer,
    leased,
    park_key,
)

PREFIX = "breakwater:{ns.example.net/events/$default/default/0}:"


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url, decode_responses=True) as connected:
        yield connected


def parking(client: Any) -> RedisParkingStore:
    return RedisParkingStore(client, most=10, ttl_seconds=60, identity=IDENTITY)


async def replay(store: RedisParkingStore, key: str, number: int) -> None:
    await leased(store, key)
    await store.finish(SOURCE, key, "t", at(number), "verdict")
    await store.release(SOURCE, key, "t")


async def test_lease_expires(client: Any) -> None:
    """The key of a crashed redrive becomes free."""
    store = parking(client)
    await leased(store)
    (name,) = [key async for key in client.scan_iter("*lease*")]
    assert 0 < await client.pttl(name) <= LEASE_MS
    await client.delete(name)
    assert not await store.renew(SOURCE, "k", "t", LEASE_MS)


async def test_parked_events_never_expire(client: Any) -> None:
    """Nor do their totals and the mark's token; all other keys expire."""
    store = parking(client)
    writing = await park_key(store, "k", 11)
    await defer(store, writing, "j", 12)
    await replay(store, "k", 10)
    await leased(store)
    lasting = {key async for key in client.scan_iter() if await client.ttl(key) == -1}
    names = {
        *("keys", "state", "deferred", "due", "deferred_since"),
        *("entries:=k", "documents:=k", "entries:=j", "documents:=j"),
    }
    assert lasting == {
        "breakwater:{ns.example.net/events/$default/default}:parked",
        f"{PREFIX}format",
        *(f"{PREFIX}parking:{name}" for name in names),
    }


async def test_released_keys_leave_nothing_behind(client: Any) -> None:
    """One list per key that ever failed would fill Redis."""
    store = parking(client)
    writing = await park_key(store)
    await defer(store, writing, "j", 12)
    await replay(store, "k", 10)
    await replay(store, "j", 12)
    left = {key async for key in client.scan_iter(f"{PREFIX}parking:*")}
    names = ("state", "replayed", "replayed_at", "verdicts")
    assert left == {f"{PREFIX}parking:{name}" for name in names}


async def test_claim_renews_the_expiry_of_replayed_positions(client: Any) -> None:
    """A batch that is held for days claims its partition repeatedly and completes no event."""
    store = parking(client)
    await park_key(store)
    await replay(store, "k", 10)
    names = [f"{PREFIX}parking:{name}" for name in ("replayed", "replayed_at")]
    for name in names:
        await client.expire(name, 30)
    await store.claim(SOURCE)
    assert all([await client.ttl(name) > 30 for name in names])


async def test_claim_deletes_passed_positions_in_portions(client: Any) -> None:
    """A claim with thousands of passed positions must not take long."""
    store = parking(client)
    writing = await claimed(store)
    for number in range(150):
        await store.poison(writing, SOURCE, f"k{number}", at(number), "p")
        await replay(store, f"k{number}", number)
    progress = RedisProgressStore(client, ttl_seconds=60)
    await progress.commit(SOURCE, writing.owner, Mark(140, FIRST_MS + 140), [])
    for left in (50, 9, 9):
        claim = await store.claim(SOURCE, ["k0", "k149"])
        assert claim.replayed == {"k149": f"{at(149)}|{at(149)}"}, "passed ones are not returned"
        assert await client.hlen(f"{PREFIX}parking:replayed") == left
        assert await client.zcard(f"{PREFIX}parking:replayed_at") == left


async def test_positions_of_an_older_version_are_deleted_too(client: Any) -> None:
    """Format 2 wrote no times beside them."""
    store = parking(client)
    writing = await claimed(store)
    await client.hset(f"{PREFIX}parking:replayed", mapping={"=a": at(5), "=b": at(15)})
    assert (await store.claim(SOURCE, ["a", "b"])).replayed == {"a": at(5), "b": at(15)}
    progress = RedisProgressStore(client, ttl_seconds=60)
    await progress.commit(SOURCE, writing.owner, Mark(10, FIRST_MS + 10), [])
    await store.claim(SOURCE)
    assert await client.hgetall(f"{PREFIX}parking:replayed") == {"=b": at(15)}


async def test_missing_totals_are_counted_at_the_claim(client: Any) -> None:
    """An import, or a write between it and the claim, must not leave wrong totals."""
    store = parking(client)
    writing = await park_key(store, "k", 11)
    await client.hdel(f"{PREFIX}parking:state", "events", "size")
    await store.park(writing, SOURCE, "k", [(at(12), "e12")])
    await replay(store, "k", 10)
    summary = await store.summary(SOURCE)
    assert (summary.events, summary.size) == (2, 6)
    claim = await store.claim(SOURCE)
    assert (claim.events, claim.size) == (2, 6)
    await store.park(WritingAs(claim.owner, ""), SOURCE, "k", [(at(13), "e13")])
    assert (await store.summary(SOURCE)).events == 3
