"""The index of the poison queue on a Redis without memory (noeviction)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from processing.errors import StorageUnavailableError
from processing.poison.index.redis import RedisPoisonIndex
from tests.support.processing.events import IDENTITY
from tests.support.processing.index_entries import entry


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url) as connected:
        yield connected
        await connected.config_set("maxmemory", 0)


async def fill(client: Any) -> None:
    """Let Redis refuse each write that needs memory."""
    await client.config_set("maxmemory-policy", "noeviction")
    await client.config_set("maxmemory", 1)


async def names(index: RedisPoisonIndex) -> list[str]:
    return [each.name for each in (await index.page()).entries]


async def test_full_redis_takes_no_entry_and_keeps_the_others(client: Any) -> None:
    """A refused script has changed nothing."""
    index = RedisPoisonIndex(client, IDENTITY)
    await index.put([entry(1), entry(2)])
    token = await index.begin() or ""
    await index.end(token, of_others={})
    await index.put([entry(1), entry(2)])
    await fill(client)
    with pytest.raises(StorageUnavailableError, match="index of the poison queue"):
        await index.put([entry(3), entry(1, error="E2")])
    with pytest.raises(StorageUnavailableError, match="index of the poison queue"):
        await index.begin()
    assert not await index.look(2)
    assert not await index.look(3)
    assert await names(index) == ["m1", "m2"]
    assert sum((await index.causes()).values()) == 2
    assert (await index.state()).built_at is not None


async def test_redrive_empties_the_index_on_a_full_redis(client: Any) -> None:
    """Removals and new receipts need no memory, and neither does the end of a comparison."""
    index = RedisPoisonIndex(client, IDENTITY)
    await index.put(entry(number) for number in range(4))
    token = await index.begin() or ""
    await index.put([entry(2), entry(3)])
    await fill(client)
    await index.set_receipts({"m3": "later"})
    assert await index.renew(token)
    await index.remove(["m2"])
    assert await index.end(token, of_others={"b": 1}, unreadable=1, held=1) == 2
    assert (await index.page()).entries == [entry(3).with_receipt("later")]
    assert sum((await index.causes()).values()) == 1
    state = await index.state()
    assert state.built_at is not None
    assert (state.entries, state.total) == (1, 4)


async def test_index_stops_to_grow_before_redis_is_full(client: Any) -> None:
    """Parked events need the rest of the memory; known entries are still replaced."""
    room = True

    async def has_room() -> bool:
        return room

    index = RedisPoisonIndex(client, IDENTITY, has_room=has_room)
    await index.put([entry(1)])
    room = False
    with pytest.raises(StorageUnavailableError, match="nearly full"):
        await index.put([entry(1, error="E2"), entry(2)])
    assert await names(index) == ["m1"]
    assert (await index.page()).entries[0].message.error.type == "E2"


async def test_index_that_lost_one_key_is_built_again(client: Any) -> None:
    """A Redis that evicts keys may drop one key of the index and keep the others."""
    for lost in ("entries", "order", "keys", "ids", "causes", "state"):
        await client.flushall()
        index = RedisPoisonIndex(client, IDENTITY)
        token = await index.begin() or ""
        await index.put([entry(1), entry(2)])
        await index.end(token, of_others={})
        await client.delete(f"breakwater:{{{IDENTITY}}}:poison-index:{lost}")
        assert (await index.state()).built_at is None, lost
        assert await index.look(2), lost
        token = await index.begin() or ""
        await index.put([entry(2)])
        await index.end(token, of_others={})
        assert await names(index) == ["m2"], lost
        assert len(await index.of_id(entry(2).message.id)) == 1
        assert len((await index.of_key("k")).entries) == 1
        assert sum((await index.causes()).values()) == 1


async def test_entry_of_a_later_version_is_left_out(client: Any) -> None:
    """It is in the queue, too, where the later version finds it."""
    index = RedisPoisonIndex(client, IDENTITY)
    await index.put([entry(1), entry(2)])
    key = f"breakwater:{{{IDENTITY}}}:poison-index:entries"
    value = await client.hget(key, "m1")
    await client.hset(key, "m1", value[:-4] + b"\0\0\0\0")
    assert await names(index) == ["m2"]


async def test_index_expires_with_the_app(client: Any) -> None:
    """An app that was removed leaves nothing in Redis."""
    index = RedisPoisonIndex(client, IDENTITY, ttl_seconds=60)
    token = await index.begin() or ""
    await index.put([entry(1)])
    await index.end(token, of_others={})
    keys = await client.keys("*poison-index*")
    assert len(keys) == 6
    assert all([0 < await client.ttl(key) <= 60 for key in keys])
