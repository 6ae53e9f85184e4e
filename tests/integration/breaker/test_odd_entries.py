"""Entries of the history and of the outbox that this version cannot read."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from redis.asyncio import Redis

from breaker import BreakerSettings, CircuitBreaker, RedisCircuitStore
from breaker.alerts.memory import MemoryPublisher
from breaker.stores.redis import connect


async def test_odd_entry_does_not_hide_the_history(redis_url: str) -> None:
    """The console's feed and `breakwater history` would fail until it is trimmed."""
    settings = BreakerSettings(name="odd")
    async with (
        aclosing(connect(redis_url, settings)) as client,
        CircuitBreaker(RedisCircuitStore(client, settings.name), settings) as breaker,
        Redis.from_url(redis_url) as redis,
    ):
        await breaker.isolate("ann", "first")
        (key,) = [each async for each in redis.scan_iter("*history*")]
        await redis.xadd(key, {"kind": "newer"})
        await redis.xadd(key, {"event": "x", "generation": "one", "at_us": "1"})
        await breaker.close_circuit(1, "ben")
        entries = await breaker.history()
    assert [each.by for each in entries] == ["ben", "ann"]


async def test_odd_alert_delays_no_other_alert(redis_url: str) -> None:
    """The alert of a newer version, which was rolled back, stays for the next newer version."""
    publisher = MemoryPublisher()
    settings = BreakerSettings(name="odd", failure_threshold=1)
    async with (
        aclosing(connect(redis_url, settings)) as client,
        Redis.from_url(redis_url) as redis,
    ):
        store = RedisCircuitStore(client, settings.name)
        async with CircuitBreaker(store, settings) as breaker:
            await breaker.record_failure("a", "x", await breaker.try_acquire())
        (key,) = [each async for each in redis.scan_iter("*outbox", _type="stream")]
        stored: Any = await redis.xrange(key)
        ((first, fields),) = stored
        await redis.delete(key)
        await redis.xadd(key, {**fields, b"event": b"newer"}, id=first)
        await redis.xadd(key, fields)
        async with CircuitBreaker(store, settings, publisher=publisher) as breaker:
            await breaker.deliver_alerts()  # unless the start has delivered the alert already
        assert len(publisher.published) == 1
        assert await redis.xlen(key) == 1
