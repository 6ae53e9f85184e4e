"""What the load test does to the system: the downstream's outage and the killing of a host."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from loadtest.observe.observer import Observer
from loadtest.target.clients import async_redis
from loadtest.target.endpoints import Endpoints
from loadtest.target.hosts import HostInstance, kill_one
from loadtest.target.keys import Keys


async def begin_outage(observer: Observer, endpoints: Endpoints, keys: Keys, after: int) -> None:
    """Let the downstream fail once `after` events have been handled."""
    await observer.until(lambda sample: sample.handled >= after)
    await set_outage(endpoints, keys)


async def set_outage(endpoints: Endpoints, keys: Keys) -> None:
    """Let the downstream refuse every call from now on."""
    async with retrying_client(endpoints) as client:
        await client.set(keys.ledger("outage"), "1")


async def end_outage(endpoints: Endpoints, keys: Keys) -> None:
    """Make the downstream take calls again."""
    async with retrying_client(endpoints) as client:
        await client.delete(keys.ledger("outage"))


def retrying_client(endpoints: Endpoints) -> AbstractAsyncContextManager[redis.asyncio.Redis]:
    """Return a client that waits up to half a minute for a Redis that is being restarted."""
    return async_redis(endpoints, retry=Retry(ConstantBackoff(0.2), 150))


async def kill_host(observer: Observer, state_dir: Path, after: int) -> HostInstance:
    """`kill -9` one host instance once `after` events have been handled."""
    await observer.until(lambda sample: sample.handled >= after)
    return kill_one(state_dir)
