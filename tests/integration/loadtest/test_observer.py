"""From when on the observer counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

from loadtest.observe.observer import Observer
from loadtest.target.endpoints import Endpoints
from loadtest.target.keys import Keys


async def test_what_is_poisoned_is_counted_from_the_first_event_on(redis_url: str) -> None:
    """Nothing is sent before the queue was looked into: what came into it before that look, were it
    late, would be taken for another run's, and this one would wait for it for ever.
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
            may_answer.set()  # in any case, or the server would not end
            await first
            assert not too_early
