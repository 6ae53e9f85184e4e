"""The Redis client of the load test."""

from __future__ import annotations

import asyncio
from pathlib import Path

import redis

from loadtest.target.clients import async_redis
from loadtest.target.endpoints import Endpoints
from tests.support.patience import HANG_SECONDS


async def test_cancelled_task_closes_its_client(redis_url: str) -> None:
    """The cancellation may arrive at any step of the end of `async with`."""
    endpoints = Endpoints(
        redis_url=f"{redis_url}?client_name=left",
        storage_connection_string="",
        event_hub_connection="",
        event_hub_name="events",
        event_grid_topic_endpoint="",
        cloud_url="",
        management_url="",
        workflow_url="",
        poison_queue="",
        settings_file=Path(),
    )
    clients = []  # the garbage collector would close them
    for steps in range(8):
        ends = asyncio.Event()

        async def use(ends: asyncio.Event = ends) -> None:
            async with async_redis(endpoints) as client:
                clients.append(client)
                await client.ping()
                ends.set()

        task = asyncio.create_task(use())
        await ends.wait()
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    with redis.Redis.from_url(redis_url) as other:
        async with asyncio.timeout(HANG_SECONDS):
            while any(each["name"] == "left" for each in other.client_list()):
                await asyncio.sleep(0.01)
