"""Records in Redis that this version cannot read: an unreadable record concerns itself only.

A newer version of the app writes such records before it is rolled back.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from console.reader.vitals import merge
from processing.formats.keys import hub_keys, partition_prefix
from processing.monitoring.partition_state import PartitionState, State
from processing.monitoring.redis_fleet import RedisFleetStates
from processing.monitoring.redis_vitals import RedisVitals, RedisVitalsReader
from processing.monitoring.vitals import vitals_key
from processing.parking.redis import RedisParkingStore
from processing.parking.redis_names import parking_keys
from processing.partitions.hub_changes import ChangeKind
from processing.partitions.redis_gaps import RedisGapStore
from processing.partitions.redis_hub_changes import RedisHubChanges
from processing.redrive.listing import UNREADABLE, KeyListing
from tests.support.processing.events import IDENTITY, SOURCE
from tests.support.processing.parking_stores import at, claimed


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def test_odd_vitals_do_not_end_the_console_s_row(client: Redis) -> None:
    """The reader continues behind them, and counts the numbers that it can read."""
    stream = vitals_key("c")
    await client.xadd(stream, {"instance": "x", "data": "no JSON"})
    await client.xadd(stream, {"instance": "x"})
    await client.xadd(stream, {"data": "{}"})
    reader = RedisVitalsReader(client, "c")
    assert await reader.behind("0-0") == []
    record = {"handled": 2, "poisoned": None, "latency": {"3": 2, "p50": 1, "4": "x"}, "problem": 7}
    await RedisVitals(client, "c", "new").write(json.dumps(record))
    await RedisVitals(client, "c", "list").write("[]")
    await RedisVitals(client, "c", "me").write(json.dumps({"handled": 3, "latency": {"3": 3}}))
    found = await reader.behind("0-0")
    assert [each.instance for each in found] == ["new", "list", "me"]
    row = merge(found, seconds=1, instances=3, holding=[])
    assert (row["handled"], row["poisoned"], row["p50_ms"]) == (5, 0, 0.006)


async def test_odd_change_of_the_hub_does_not_hide_the_others(client: Redis) -> None:
    """Health and rewinds read all changes."""
    changes = RedisHubChanges(client, IDENTITY, ttl_seconds=60)
    await changes.observe(1, 4)
    found = await changes.observe(1, 8)
    await client.zadd(hub_keys(IDENTITY)[1], {"compacted 1 0 0": 1, "partitions": 2})
    await client.zadd(hub_keys(IDENTITY)[1], {"partitions 1 8 16 why": found[0].seen_ms + 1})
    for known in (await changes.known(), await changes.observe(1, 8)):
        assert [(each.kind, each.before, each.after) for each in known] == [
            (ChangeKind.PARTITIONS, 8, 16),
            (ChangeKind.PARTITIONS, 4, 8),
        ]


async def test_odd_gap_does_not_hide_the_others(client: Redis) -> None:
    gaps = RedisGapStore(client, ttl_seconds=60)
    await gaps.record(SOURCE, 5, 9, created_ms=1, handled=())
    name = f"{partition_prefix(SOURCE)}gaps"
    for odd in ("1 2", "a b c", "", "20 29 1700000000000 0 1 new"):
        await client.lpush(name, odd)
    assert [(each.first, each.last) for each in await gaps.gaps(SOURCE)] == [(20, 29), (5, 9)]


async def test_odd_report_does_not_hide_the_other_instances(client: Redis) -> None:
    fleet = RedisFleetStates(client, IDENTITY)
    state = PartitionState("events", "0", State.STALLED, 70.0)
    await fleet.report("good", [state])
    (name,) = [each async for each in client.scan_iter("*reports")]
    good = await client.hget(name, "good")
    assert isinstance(good, bytes)
    stamp = good.partition(b":")[0].decode()
    for instance, odd in (("a", "no JSON"), ("b", '["text", 7, null]'), ("c", "7")):
        await client.hset(name, instance, f"{stamp}:{odd}")
    assert [each.instance for each in await fleet.reports()] == ["good"]


async def test_odd_list_does_not_hide_the_others(client: Redis) -> None:
    """The listing says why the first event of such a list cannot be shown."""
    store = RedisParkingStore(client, most=9, ttl_seconds=60, identity=IDENTITY)
    writing = await claimed(store)
    for number, key in enumerate(("odd", "good")):
        await store.poison(writing, SOURCE, key, at(number), "p")
    await client.hset(parking_keys(SOURCE, "documents:=odd")[0], at(0), "X{}")
    assert {each.key for each in await store.keys()} == {"odd", "good"}
    odd, good = (await (await KeyListing.read(store)).page()).keys
    assert (odd.key, odd.error) == ("odd", UNREADABLE)
    assert odd.event.endswith("/0/1700000000000")
    assert good.reason == "poison"
