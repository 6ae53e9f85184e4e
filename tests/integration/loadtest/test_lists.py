"""The load test reads the lists that the app writes, from the outside."""

from __future__ import annotations

from redis.asyncio import Redis

from loadtest.target.lists import deferred_keys, expired_events, waiting_events
from processing.event import Event
from processing.identity import Identity, Source
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import ParkedEvent, position_of
from processing.parking.redis import RedisParkingStore
from processing.parking.store import WritingAs
from processing.partitions.redis_gaps import RedisGapStore
from tests.support.processing.events import IDENTITY, SOURCE, event


def sent(number: int, key: str, run: str = "r") -> Event:
    """Return an event of a run, as the load test sends it."""
    return event(number, key, properties={"run": run, "key": key, "counter": number})


def parked(each: Event) -> tuple[str, str]:
    return position_of(each), ParkedEvent(each).to_json()


async def test_deferred_keys_and_their_events_are_read(redis_url: str) -> None:
    """Poisoned events, and the events of another run, do not wait."""
    async with Redis.from_url(redis_url) as client:
        store = RedisParkingStore(client, most=100, ttl_seconds=3600, identity=IDENTITY)
        writing = WritingAs((await store.claim(SOURCE, ["a", "b"])).owner, "")
        reason = Deferral(DeferralReason.DEPENDENCY)
        first = parked(sent(1, "a"))
        await store.defer(writing, SOURCE, "a", first, deferral=reason, pause_seconds=60)
        await store.park(
            writing, SOURCE, "a", [parked(sent(2, "a")), parked(sent(3, "a", run="other"))]
        )
        position, document = parked(sent(4, "b"))
        await store.poison(writing, SOURCE, "b", position, document)
        await store.park(writing, SOURCE, "b", [parked(sent(5, "b"))])
        assert await deferred_keys(client) == {"a"}
        assert await waiting_events(client, "r") == {("a", 1), ("a", 2), ("b", 5)}
        lease = await store.lease(SOURCE, "a", "t", 60_000)
        assert lease is not None
        for number in (1, 2, 3):
            await store.finish(SOURCE, "a", "t", position_of(sent(number, "a")))
        assert await deferred_keys(client) == frozenset()
        assert await waiting_events(client, "r") == {("b", 5)}


async def test_records_of_expired_events_are_read_by_partition(redis_url: str) -> None:
    """Handled events inside a gap do not count, and several gaps of a partition are added up."""
    async with Redis.from_url(redis_url) as client:
        store = RedisGapStore(client, ttl_seconds=3600)
        other = Source(IDENTITY, "7")
        await store.record(SOURCE, 10, 19, created_ms=1, handled=[12, 13])
        await store.record(SOURCE, 30, 34, created_ms=1, handled=[])
        await store.record(other, 0, 0, created_ms=1, handled=[])
        assert await expired_events(client) == {SOURCE.partition: 13, "7": 1}


async def test_deferred_keys_of_one_pipeline_are_read(redis_url: str) -> None:
    """Another pipeline has its own hub, but the same partition and key."""
    sources = {
        name: Source(Identity("ns", f"{name}-events", "$Default", name), "0")
        for name in ("orders", "audit")
    }
    async with Redis.from_url(redis_url) as client:
        for name, source in sources.items():
            store = RedisParkingStore(client, most=100, ttl_seconds=3600, identity=source.identity)
            writing = WritingAs((await store.claim(source, [name])).owner, "")
            reason = Deferral(DeferralReason.DEPENDENCY)
            first = parked(sent(1, name))
            await store.defer(writing, source, name, first, deferral=reason, pause_seconds=60)
        assert await deferred_keys(client, "orders") == {"orders"}
        assert await deferred_keys(client, "audit") == {"audit"}
        assert {"orders", "audit"} <= await deferred_keys(client)
        await client.delete(*[key async for key in client.scan_iter("breakwater:*-events/*")])
