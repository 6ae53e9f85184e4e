"""The faults that need no chaos plan, which are the downstream outage and a killed host."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from loadtest.observe.observer import Observer
from loadtest.target.clients import async_redis
from loadtest.target.endpoints import Endpoints
from loadtest.target.hosts import HostInstance, kill_one
from loadtest.target.keys import Keys

FIRST_KEY = "first"
"""The value of an outage that hits the first key that calls; see the ledger's `append.lua`."""


async def set_outage(endpoints: Endpoints, keys: Keys, value: str = "1") -> None:
    """Make the downstream refuse every call, or the calls of the first key that calls."""
    async with retrying_client(endpoints) as client:
        await client.set(keys.ledger("outage"), value)


async def set_partial_outage(endpoints: Endpoints, keys: Keys, away: Sequence[str]) -> None:
    """Make the downstream refuse the calls of some keys."""
    await set_outage(endpoints, keys, _lines("keys:", *away))


async def set_dependency_outage(endpoints: Endpoints, keys: Keys, dependency: str) -> None:
    """Make the downstream refuse the calls that need a dependency."""
    await set_outage(endpoints, keys, _lines("needs:", dependency))


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


async def dead_key(endpoints: Endpoints, keys: Keys) -> str | None:
    """Return the one key whose calls the downstream refuses; None without one."""
    async with retrying_client(endpoints) as client:
        value: Any = await client.get(keys.ledger("outage")) or b""
    prefix = keys.ledger("key:")
    return value.decode().removeprefix(prefix) if value.startswith(prefix.encode()) else None


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
