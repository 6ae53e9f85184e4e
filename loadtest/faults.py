"""What the load test does to the system: the downstream's outage and the killing of a host."""

from __future__ import annotations

from pathlib import Path

import redis.asyncio

from loadtest.hosts import HostInstance, kill_one
from loadtest.observer import Keys, Observer


async def begin_outage(observer: Observer, redis_url: str, keys: Keys, after: int) -> None:
    """Let the downstream fail once `after` events have been handled."""
    await observer.until(lambda sample: sample.handled >= after)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.set(keys.ledger("outage"), "1")


async def kill_host(observer: Observer, state_dir: Path, after: int) -> HostInstance:
    """`kill -9` one host instance once `after` events have been handled."""
    await observer.until(lambda sample: sample.handled >= after)
    return kill_one(state_dir)
