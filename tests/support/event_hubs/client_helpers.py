"""Helpers for tests that drive the Event Hubs endpoint with the stock clients."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, cast

from azure.eventhub import EventData, EventDataBatch
from azure.eventhub._pyamqp.constants import LinkState
from azure.eventhub.aio import EventHubConsumerClient, EventHubProducerClient

from local.event_hubs import EventHubsServer, NamespaceConfig
from tests.support.event_hubs.prompt_clients import PROMPT, PROMPT_RECEIVER

HUB = "events"
PATIENCE = 60.0


class BackgroundServer:
    """An endpoint on an event loop in its own thread, for the synchronous clients."""

    def __init__(self, server: EventHubsServer) -> None:
        self.server = server
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def call[T](self, function: Callable[[], T]) -> T:
        """Run a function in the endpoint's thread and return the result."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.server.start(), self.loop).result(PATIENCE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self.loop).result(PATIENCE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()


class Clock:
    """A clock in seconds since 1970 that only the test advances."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def hub(partitions: int = 4, groups: Sequence[str] = ()) -> NamespaceConfig:
    """Return a namespace with the hub of these tests."""
    return NamespaceConfig.single(HUB, partitions, groups)


def producer(server: EventHubsServer, **options: Any) -> EventHubProducerClient:
    """Return an asynchronous producer that raises errors at once instead of retrying."""
    settings: dict[str, Any] = PROMPT | {"eventhub_name": HUB} | options
    return EventHubProducerClient.from_connection_string(server.connection_string, **settings)


def consumer(
    server: EventHubsServer, group: str = "$Default", **options: Any
) -> EventHubConsumerClient:
    """Return an asynchronous consumer that raises errors at once instead of retrying."""
    settings: dict[str, Any] = PROMPT | PROMPT_RECEIVER | {"eventhub_name": HUB} | options
    return EventHubConsumerClient.from_connection_string(
        server.connection_string, consumer_group=group, **settings
    )


def append(server: EventHubsServer, content: Sequence[bytes], partition: int = 0) -> None:
    """Append bodies to a partition without a producer, in the form of a producer's transfers."""
    for body in content:
        message = b"\x00\x53\x75\xb0" + struct.pack(">I", len(body)) + body
        server.namespace.hub(HUB).publish(message, 0, partition)


async def send(server: EventHubsServer, bodies: Sequence[bytes | str], **where: Any) -> None:
    """Send bodies as one batch; `where` is a partition_key or partition_id."""
    async with producer(server) as client:
        batch: EventDataBatch = await client.create_batch(**where)
        for body in bodies:
            batch.add(EventData(body))
        await client.send_batch(batch)


class Reader:
    """A background receiver of one partition; `receive` and `failure` raise or return its errors.

    The reader uses the client's own receiver without the event processor, because the processor
    retries errors and takes a second to close.
    """

    def __init__(
        self,
        server: EventHubsServer,
        partition: str = "0",
        group: str = "$Default",
        position: str | int | datetime = "-1",
        *,
        client: Any = None,
        **options: Any,
    ) -> None:
        self._client = client or consumer(server, group)
        self._consumer: Any = self._client._create_consumer(
            group,
            partition,
            position,
            self._callback(),  # type: ignore[arg-type] # called with a list in batch mode
            **options,
        )
        self._consumer._keep_alive = None  # closing would wait for the keep-alive
        self._items: asyncio.Queue[EventData | Exception] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def receive(self, count: int) -> list[EventData]:
        """Return the next events.

        Raises:
            Exception: the first error that the client reports.
        """
        events: list[EventData] = []
        async with asyncio.timeout(PATIENCE):
            while len(events) < count:
                item = await self._items.get()
                if isinstance(item, Exception):
                    raise item
                events.append(item)
        return events

    async def failure(self) -> Exception:
        """Return the next error that the client reports; earlier events are discarded."""
        async with asyncio.timeout(PATIENCE):
            while not isinstance(item := await self._items.get(), Exception):
                pass
        return item

    @property
    def waiting(self) -> int:
        """The number of events that have arrived and are not yet returned by `receive`."""
        return self._items.qsize()

    @property
    def attached(self) -> bool:
        """Return whether the link is open on both sides."""
        link = getattr(self._consumer._handler, "_link", None)
        return link is not None and link.state is LinkState.ATTACHED

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._receive())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.close()
        await self._client.close()

    async def _receive(self) -> None:
        while True:
            try:
                await self._consumer.receive(batch=True, max_batch_size=300, max_wait_time=0.1)
            except Exception as error:
                self._items.put_nowait(error)
                return

    def _callback(self) -> Callable[[list[EventData]], Any]:
        async def on_events(events: list[EventData]) -> None:
            for event in events:
                self._items.put_nowait(event)

        return on_events


async def receive(
    server: EventHubsServer, count: int, partition: str = "0", **options: Any
) -> list[EventData]:
    """Receive `count` events of one partition, by default from the beginning."""
    async with Reader(server, partition, **options) as reader:
        return await reader.receive(count)


def bodies(events: Sequence[EventData]) -> list[bytes]:
    """Return the bodies of events."""
    return [b"".join(cast("Iterable[bytes]", event.body)) for event in events]


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until a condition is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def exchange(server: EventHubsServer, data: bytes) -> bytes:
    """Send bytes and return all bytes until the endpoint closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    try:
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
