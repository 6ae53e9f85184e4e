"""The first sample of the observer."""

from __future__ import annotations

import asyncio
from pathlib import Path

from redis.asyncio import Redis

from loadtest.observe.observer import Observer
from loadtest.target.clients import async_redis
from loadtest.target.endpoints import Endpoints
from loadtest.target.keys import Keys


async def test_first_sample_waits_for_the_count_of_the_poison_queue(redis_url: str) -> None:
    """The run sends events only after the first count of the poison queue.

    A message that arrived before a late first count would be taken for another run's message, and
    the run would never complete.
    """
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def queue(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await may_answer.wait()
        writer.write(
            b"HTTP/1.1 404 Not Found\r\nx-ms-error-code: QueueNotFound\r\n"
            b"Content-Length: 0\r\nConnection: close\r\n\r\n"
        )
        writer.close()

    async with await asyncio.start_server(queue, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        endpoints = Endpoints(
            redis_url=redis_url,
            storage_connection_string=(
                "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;"
                f"QueueEndpoint=http://127.0.0.1:{port}/a;"
            ),
            event_hub_connection="",
            event_hub_name="events",
            event_grid_topic_endpoint="",
            cloud_url="",
            management_url=f"http://127.0.0.1:{port}/site",
            workflow_url="",
            poison_queue="poison",
            settings_file=Path(),
        )
        async with Observer(endpoints, Keys("run", "c", ("a",)), window_seconds=30) as observer:
            first = asyncio.create_task(observer.first())
            await asked.wait()
            await observer.until(lambda sample: sample.at_us > 0)
            for _ in range(10):
                await asyncio.sleep(0)
            too_early = first.done()
            may_answer.set()  # before the assertion, so that the server can shut down
            await first
            assert not too_early


async def test_sample_has_the_states_of_dependencies(redis_url: str) -> None:
    """A dependency without a circuit is closed."""
    async with Redis.from_url(redis_url) as client:
        await client.hset("breaker:{c}:circuit", mapping={"state": "half_open", "generation": 4})
        await client.hset("breaker:{c}/bank:circuit", mapping={"state": "open", "generation": 2})
        await client.rpush("ledger:{run}:key:a", "x", "y")
    endpoints = Endpoints(
        redis_url=redis_url,
        storage_connection_string="",
        event_hub_connection="",
        event_hub_name="events",
        event_grid_topic_endpoint="",
        cloud_url="",
        management_url="http://127.0.0.1:1/site",
        workflow_url="",
        poison_queue="poison",
        settings_file=Path(),
    )
    observer = Observer(
        endpoints, Keys("run", "c", ("a",)), window_seconds=30, dependencies=("bank", "mail")
    )
    async with async_redis(endpoints) as client:
        sample = await observer.read(client)
    assert sample.dependencies == {"bank": "open", "mail": "closed"}
    assert (sample.state, sample.generation, sample.handled) == ("half_open", 4, 2)
