"""The faults of Redis's data: a Redis that is full, and a Redis that has lost the app's keys."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import httpx
import redis.asyncio
from redis.exceptions import OutOfMemoryError

from loadtest.errors import StackError
from loadtest.faults.outage import retrying_client
from loadtest.target.endpoints import Endpoints
from loadtest.target.hosts import host_instances
from loadtest.target.stack import PROJECT

APP_KEYS = "breakwater:*"
"""The keys of progress and parked lists; circuit and ledger have other names."""
_BALLAST = "loadtest:ballast"
_ROOM = 8 * 2**20
_CHUNKS = (2**20, 2**14, 2**8)
_REFILL_SECONDS = 0.1
_SITES_VERSION = "2025-03-01"
_POLL_SECONDS, _STOP_SECONDS = 0.1, 60.0
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
    await _manage(endpoints, "stop")
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            while host_instances(endpoints.state_dir):  # noqa: ASYNC110 - other processes
                await asyncio.sleep(_POLL_SECONDS)
        code, text = await _rewind(endpoints)
        if code != 0 and "--force" in text:
            code, text = await _rewind(endpoints, "--force")
    except TimeoutError:
        raise StackError(f"a host still runs {_STOP_SECONDS:g} s after the app's stop") from None
    finally:
        await _manage(endpoints, "start")
    if code != 0:
        raise StackError(f"`processing rewind --to-mark` ended with {code}: {text}")
    return text.rpartition("\n")[2]


async def _rewind(endpoints: Endpoints, *options: str) -> tuple[int | None, str]:
    """Rewind all partitions that have lost parked events; return exit code and output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "processing", "rewind", "--all", "--to-mark", *options),
        *("--settings", str(endpoints.settings_file)),
        cwd=PROJECT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode(errors="replace").strip()


async def _manage(endpoints: Endpoints, action: str) -> None:
    """Stop or start the function app as `az functionapp` does."""
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(
            f"{endpoints.management_url}/{action}", params={"api-version": _SITES_VERSION}
        )
        answer.raise_for_status()
