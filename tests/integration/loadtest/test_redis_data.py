"""The faults of Redis's data, on a real Redis of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio
from redis.exceptions import OutOfMemoryError

from loadtest.faults import redis_data
from loadtest.target.endpoints import Endpoints
from tests.support.own_redis import Server
from tests.support.patience import HANG_SECONDS

PARTITION = "breakwater:{ns/hub/$Default/default/0}:parking:"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(server.url) as client:
        yield client


def at(server: Server) -> Endpoints:
    return Endpoints(server.url, "", "", "", "", "", "", "", "", Path())


async def test_full_redis_refuses_writes_until_the_ballast_is_taken_away(
    server: Server, client: redis.asyncio.Redis
) -> None:
    await client.set("kept", "1")
    filling = asyncio.create_task(redis_data.fill(at(server), 3600))
    async with asyncio.timeout(HANG_SECONDS):
        while not await is_full(client):
            await asyncio.sleep(0.01)
    assert await client.get("kept") == b"1"
    filling.cancel()
    await asyncio.gather(filling, return_exceptions=True)
    assert not await is_full(client)
    assert [name async for name in client.scan_iter()] == [b"kept"]


async def test_filling_ends_after_its_time(server: Server, client: redis.asyncio.Redis) -> None:
    assert await redis_data.fill(at(server), 0.01) > 2**20
    assert not await is_full(client)


async def test_emptied_redis_keeps_circuit_and_ledger(
    server: Server, client: redis.asyncio.Redis
) -> None:
    for name in ("breakwater:{a}:progress", "breakwater:{a}:parking:keys", "breakwater:f"):
        await client.set(name, "1")
    await client.set("breaker:{breakwater}:circuit", "1")
    await client.set("ledger:{run}:key:a", "1")
    assert await redis_data.empty(at(server)) == 3
    left = {name async for name in client.scan_iter()}
    assert left == {b"breaker:{breakwater}:circuit", b"ledger:{run}:key:a"}


async def is_full(client: redis.asyncio.Redis) -> bool:
    """Return whether Redis refuses a write that needs memory."""
    try:
        await client.append("probe", "x")
        await client.delete("probe")
    except OutOfMemoryError:
        return True
    return False
