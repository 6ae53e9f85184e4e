"""The faults that need no chaos plan, which are the downstream outage and a killed host."""

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
    """Start the outage once `after` events have been handled."""
    await observer.until(lambda sample: sample.handled >= after)
    await set_outage(endpoints, keys)


async def set_outage(endpoints: Endpoints, keys: Keys) -> None:
    """Make the downstream refuse every call."""
    async with retrying_client(endpoints) as client:
        await client.set(keys.ledger("outage"), "1")


async def end_outage(endpoints: Endpoints, keys: Keys) -> None:
    """Make the downstream accept calls again."""
    async with retrying_client(endpoints) as client:
        await client.delete(keys.ledger("outage"))


def retrying_client(endpoints: Endpoints) -> AbstractAsyncContextManager[redis.asyncio.Redis]:
    """Return a client that retries for up to 30 s while Redis restarts."""
    return async_redis(endpoints, retry=Retry(ConstantBackoff(0.2), 150))


async def kill_host(observer: Observer, state_dir: Path, after: int) -> HostInstance:
    """Kill one host instance with SIGKILL once `after` events have been handled."""
    await observer.until(lambda sample: sample.handled >= after)
    return kill_one(state_dir)
