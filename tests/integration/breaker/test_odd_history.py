"""A history with an entry that this version cannot read."""

from __future__ import annotations

from contextlib import aclosing

from redis.asyncio import Redis

from breaker import BreakerSettings, CircuitBreaker, RedisCircuitStore
from breaker.stores.redis import connect


async def test_odd_entry_does_not_hide_the_history(redis_url: str) -> None:
    """The console's feed and `python -m breaker history` would fail until it is trimmed."""
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
