"""The Event Hubs trigger of a local host in the test's process, with a worker that records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient
from azure.storage.blob.aio import ContainerClient

from breaker.configuration.host_options import EventHubsOptions
from local.event_hubs import EventHubsServer
from local.functions_host.triggers.event_hubs.balancing import Balancing
from local.functions_host.triggers.event_hubs.checkpoint import CONTAINER
from local.functions_host.triggers.event_hubs.extension import DEFAULT_EXTENSION, Extension
from local.functions_host.triggers.event_hubs.listener import EventHubsListener
from local.functions_host.triggers.event_hubs.source import EventHubsSource
from local.functions_host.worker.execution import Executor
from local.functions_host.worker.functions import Function
from local.functions_host.worker.retry_policy import RetryPolicy
from local.functions_host.worker.worker import Datum, Result
from tests.support.event_hubs.client_helpers import HUB
from tests.support.real_host import captured

PATIENCE = 30.0
PARTITION = "1"  # the partition of the key "eve" in a hub of 4 partitions
BINDING = {
    "type": "eventHubTrigger",
    "name": "events",
    "cardinality": "many",
    "dataType": "BINARY",
}


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass
class Recorder:
    """A worker that records what the host hands over."""

    batches: list[dict[str, Any]] = field(default_factory=list)

    async def invoke(
        self,
        function: Function,
        invocation_id: str,
        inputs: list[tuple[str, Datum]],
        metadata: dict[str, Datum],
        *,
        retry: RetryPolicy | None = None,
        retry_count: int = 0,
    ) -> Result:
        self.batches.append(captured(inputs[0][1], metadata))
        return Result(ok=True, value=None, outputs={})

    async def wait(self, count: int) -> None:
        """Wait for a number of batches."""
        await until(lambda: len(self.batches) >= count)


@dataclass
class RecordingHost:
    """The Event Hubs trigger of a local host, with a hub and storage."""

    server: EventHubsServer
    storage: str
    worker: Recorder = field(default_factory=Recorder)

    def __post_init__(self) -> None:
        self.executor = Executor(self.worker)

    @asynccontextmanager
    async def listening(
        self,
        *,
        event_hub: str = HUB,
        group: str = "$Default",
        extension: Extension = DEFAULT_EXTENSION,
        least: int = 1,
        retry: RetryPolicy | None = None,
    ) -> AsyncIterator[EventHubsListener]:
        """Run a listener; a batch has at least `least` events."""
        listener = EventHubsListener(
            Function("process_events", "id", BINDING, (), retry),
            EventHubsSource(self.server.connection_string, event_hub, group, self.storage),
            EventHubsOptions(min_event_batch_size=least),
            self.executor,
            Balancing(0.1, 10.0),
            extension=extension,
        )
        await listener.start()
        try:
            yield listener
        finally:
            await listener.stop(5.0)

    async def checkpoint(self, partition: str = PARTITION) -> dict[str, str] | None:
        """Return the metadata of the partition's checkpoint blob, or None."""
        found = await self.blobs()
        return found.get(f"127.0.0.1:{self.server.port}/events/$default/checkpoint/{partition}")

    async def blobs(self) -> dict[str, dict[str, str]]:
        """Return the metadata of the blobs of this server's hubs, by name."""
        prefix = f"127.0.0.1:{self.server.port}/"
        async with ContainerClient.from_connection_string(self.storage, CONTAINER) as container:
            with suppress(ResourceNotFoundError):  # before a listener creates the container
                blobs = container.list_blobs(prefix, include=["metadata"])
                return {blob.name: dict(blob.metadata or {}) async for blob in blobs}
        return {}

    async def wait_checkpoint(self, partition: str = PARTITION) -> dict[str, str]:
        """Wait for the partition's checkpoint blob and return its metadata."""
        async with asyncio.timeout(PATIENCE):
            while (found := await self.checkpoint(partition)) is None:
                await asyncio.sleep(0.01)
        return found


async def send(client: EventHubProducerClient, *events: EventData) -> None:
    """Send events as one batch to `PARTITION`."""
    batch = await client.create_batch(partition_id=PARTITION)
    for event in events:
        batch.add(event)
    await client.send_batch(batch)
