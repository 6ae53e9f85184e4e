"""Many parked keys in a real Redis: the number of commands of a listing, and of the console."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from console.reader.tasks import count_waiting
from processing.formats.keys import parked_partitions_key
from processing.identity import Identity, Source
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import position_of
from processing.parking.redis import RedisParkingStore
from processing.parking.redis_names import parking_keys
from processing.parking.store import WritingAs
from processing.redrive.listing import PAGE_KEYS, UNREADABLE, KeyListing
from tests.support.processing.events import event

IDENTITY = Identity("ns.example.net", "many", "$Default")
PARTITIONS = 4
DEFERRED = 10
"""One of so many keys is deferred."""
DEFERRAL = Deferral(DeferralReason.DEPENDENCY, dependency="bank")
LOADING = 2
"""Commands at the first call of a script that the server does not know."""


class CountingRedis(Redis):
    """A client that counts its commands."""

    commands = 0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Count and run a command."""
        self.commands += 1
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


async def fill(client: Redis, keys: int) -> None:
    """Write parked and deferred keys of all partitions, as the store's scripts do, but at once."""
    async with client.pipeline(transaction=False) as pipe:
        for number in range(keys):
            source = Source(IDENTITY, f"{number % PARTITIONS}")
            label, position = f"=k{number}", position_of(event(number))
            pipe.sadd(parked_partitions_key(IDENTITY), source.partition)
            created, entries, documents, deferred, due, since = parking_keys(
                *(source, "keys", f"entries:{label}", f"documents:{label}"),
                *("deferred", "due", "deferred_since"),
            )
            pipe.hset(created, label, f"{1_700_000_000_000_000 + number}")
            pipe.zadd(entries, {position: 0})
            pipe.hset(documents, position, "E{}")
            if number % DEFERRED == 0:
                pipe.hset(deferred, label, f"{number} {DEFERRAL.to_json()}")
                pipe.zadd(due, {label: number})
                pipe.zadd(since, {label: number})
        await pipe.execute()


@pytest.mark.parametrize("keys", [1_500, pytest.param(20_000, marks=pytest.mark.long)])
async def test_commands_grow_with_the_pages_and_not_with_the_keys(
    redis_url: str, keys: int
) -> None:
    """A listing sent a command for each key, and the console another at each poll."""
    client: Any
    async with CountingRedis.from_url(redis_url) as client:
        store = RedisParkingStore(client, most=10, ttl_seconds=60, identity=IDENTITY)
        await fill(client, keys)

        client.commands = 0
        waiting = await count_waiting(store)
        assert (waiting.keys, waiting.deferred) == (keys, keys // DEFERRED)
        assert waiting.needs == {"bank": keys // DEFERRED}
        assert client.commands <= 1 + 2 * PARTITIONS + 2 * LOADING

        client.commands = 0
        listing = await KeyListing.read(store)
        first = await listing.page()
        assert (listing.total, len(first.keys)) == (keys, PAGE_KEYS)
        assert client.commands <= 1 + 2 * PARTITIONS + LOADING

        shown = [each.key for each in first.keys]
        page = first
        while page.after is not None:
            page = await listing.page(page.after)
            shown += [each.key for each in page.keys]
        assert len(set(shown)) == len(shown) == keys
        pages = -(-keys // PAGE_KEYS)
        assert client.commands <= 1 + PARTITIONS + pages * PARTITIONS + LOADING

        client.commands = 0
        assert len(await store.keys()) == keys
        assert client.commands <= 1 + PARTITIONS + keys // 500 + PARTITIONS


async def test_list_whose_entries_redis_has_lost_is_still_listed(redis_url: str) -> None:
    """An operator sees what a redrive or a rewind has to bring back."""
    async with Redis.from_url(redis_url) as client:
        store = RedisParkingStore(client, most=10, ttl_seconds=60, identity=IDENTITY)
        source = Source(IDENTITY, "0")
        writing = WritingAs((await store.claim(source)).owner, "")
        for number, key in enumerate(["whole", "lost"]):
            await store.poison(writing, source, key, position_of(event(number)), "{}")
        prefix = f"breakwater:{{{source}}}:parking:"
        await client.delete(f"{prefix}entries:=lost", f"{prefix}documents:=lost")
        whole, lost = (await (await KeyListing.read(store)).page()).keys
        assert (whole.key, whole.entries, whole.event != "") == ("whole", 1, True)
        assert (lost.key, lost.entries, lost.event) == ("lost", 0, "")
        assert lost.error == UNREADABLE
        assert [each.entries for each in await store.keys()] == [1, 0]


async def test_odd_list_does_not_hide_the_other_keys(redis_url: str) -> None:
    """A program of another kind may have written to this Redis."""
    async with Redis.from_url(redis_url) as client:
        store = RedisParkingStore(client, most=10, ttl_seconds=60, identity=IDENTITY)
        source = Source(IDENTITY, "0")
        writing = WritingAs((await store.claim(source)).owner, "")
        for number, key in enumerate(["odd kind", "no text", "odd time", "good"]):
            await store.poison(writing, source, key, position_of(event(number)), "{}")
        prefix = f"breakwater:{{{source}}}:parking:"
        await client.hset(f"{prefix}documents:=odd kind", position_of(event(0)), "?{}")
        await client.hset(f"{prefix}documents:=no text", position_of(event(1)), "")
        await client.hset(f"{prefix}keys", "=odd time", "yesterday")
        listed = (await (await KeyListing.read(store)).page()).keys
        assert [each.key for each in listed] == ["odd time", "odd kind", "no text", "good"]
        assert [each.error == UNREADABLE for each in listed] == [False, True, True, False]
        assert len(await store.keys()) == 4
