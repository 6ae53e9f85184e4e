"""The faults of Redis's data: a Redis that is full, and a Redis that has lost the app's keys."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import redis.asyncio
from redis.exceptions import OutOfMemoryError

from loadtest.errors import StackError
from loadtest.faults.outage import retrying_client
from loadtest.target import operations
from loadtest.target.endpoints import Endpoints

APP_KEYS = "breakwater:*"
"""The keys of progress and parked lists; circuit and ledger have other names."""
_BALLAST = "loadtest:ballast"
_ROOM = 8 * 2**20
_CHUNKS = (2**20, 2**14, 2**8)
_REFILL_SECONDS = 0.1
_NOTICE_SECONDS = 3.0
"""The time from the loss until the operator stops the app, in which the app must not go on."""


async def fill(endpoints: Endpoints, seconds: float) -> int:
    """Keep Redis full for a while; return the size of the ballast in bytes.

    A full Redis refuses all commands that may need memory, also those of the ledger.
    """
    async with retrying_client(endpoints) as client:
        used: Any = (await client.info("memory"))["used_memory"]
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", int(used) + _ROOM)
        size, end = 0, time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                size += await _top_up(client)
                await asyncio.sleep(_REFILL_SECONDS)
        finally:
            await client.delete(_BALLAST)
            await client.config_set("maxmemory", 0)
    return size


async def _top_up(client: redis.asyncio.Redis) -> int:
    """Add ballast until Redis refuses the smallest chunk."""
    size = 0
    for chunk in _CHUNKS:
        try:
            while True:
                await client.rpush(_BALLAST, b"b" * chunk)
                size += chunk
        except OutOfMemoryError:
            continue
    return size


async def empty(endpoints: Endpoints) -> int:
    """Delete all keys of progress and parked lists; return their number.

    One script, because an app that claims a partition in between would write some keys again.
    """
    async with retrying_client(endpoints) as client:
        script = (
            "local keys = redis.call('KEYS', ARGV[1]) "
            "for _, key in ipairs(keys) do redis.call('DEL', key) end return #keys"
        )
        count: Any = await client.eval(script, 0, APP_KEYS)
    return int(count)


async def rewind_to_marks(endpoints: Endpoints) -> str:
    """Do what the runbook asks of an operator: stop the app, rewind, start the app.

    The ownership of a host that was killed expires after two minutes, and until then a rewind is
    refused. The operator, who sees that no host runs, then forces the rewind.

    Returns:
        The last line of the rewind's output.

    Raises:
        StackError: the rewind failed.
    """
    await asyncio.sleep(_NOTICE_SECONDS)
    options = ("--all", "--to-mark")
    try:
        await operations.stop(endpoints)
        code, text = await operations.rewind(endpoints, *options)
        if code != 0 and "--force" in text:
            code, text = await operations.rewind(endpoints, *options, "--force")
    finally:
        await operations.start(endpoints)
    if code != 0:
        raise StackError(f"`processing rewind --to-mark` ended with {code}: {text}")
    return text.rpartition("\n")[2]
