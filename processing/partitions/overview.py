"""The hub, the host's checkpoints and the poison queue's length, as the elected reader sees them.

Loads Microsoft's SDKs: imported by `Tools.module`, when somebody looks.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.eventhub.aio import EventHubConsumerClient
from azure.storage.queue.aio import QueueClient

from breaker import BreakerSettings
from breaker.stores.redis import connect
from processing.partitions.checkpoints import CONTAINER, HostCheckpoints
from processing.progress.redis import RedisProgressStore
from processing.clients import hub_client, open_container, open_credential, open_poison_storage
from processing.errors import StorageUnavailableError
from processing.partitions.lag import LagReader
from processing.settings import ConnectionSettings, ProcessingSettings


class Partitions:
    """Reads the table of partitions."""

    def __init__(
        self, lag: LagReader, checkpoints: HostCheckpoints, queue: QueueClient, lease_seconds: float
    ) -> None:
        self._lag = lag
        self._checkpoints = checkpoints
        self._queue = queue
        self._lease_seconds = lease_seconds

    async def table(self) -> dict[str, Any]:
        """One row for each partition; what can't be read is the table's problem.

        Raises:
            StorageUnavailableError: the hub or Redis did not answer.
        """
        problem = None
        owners: dict[str, tuple[str, float]] = {}
        try:
            for found in await self._checkpoints.owners():
                left = max(0.0, self._lease_seconds - found.age_seconds)
                owners[found.partition] = (found.owner, round(left, 1))
        except StorageUnavailableError as error:
            problem = str(error)
        rows = []
        for each in await self._lag.read():
            checkpoint = None
            try:
                if (read := await self._checkpoints.read(each.partition)) is not None:
                    checkpoint = read.sequence_number
            except (StorageUnavailableError, ValueError) as error:
                problem = str(error)
            owner, seconds = owners.get(each.partition, (None, None))
            rows.append(
                {
                    "partition": each.partition,
                    "owner": owner,
                    "lease_seconds": seconds,
                    "checkpoint": checkpoint,
                    "watermark": each.watermark,
                    "last_enqueued": each.last_enqueued,
                    "lag": each.lag,
                }
            )
        return {"time": time.time_ns() // 1_000_000, "rows": rows, "problem": problem}

    async def poison_count(self) -> int | None:
        """How many messages are in the poison queue, about; None when that can't be asked."""
        try:
            properties = await self._queue.get_queue_properties()
        except ResourceNotFoundError:  # made with the first poison message
            return 0
        except AzureError:
            return None
        return properties.approximate_message_count


@asynccontextmanager
async def open_partitions(
    settings: Mapping[str, str], *, lease_seconds: float
) -> AsyncIterator[Partitions]:
    """What the function app's settings name.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
    """
    connections = ConnectionSettings.from_mapping(settings)
    processing = ProcessingSettings.from_mapping(settings)
    async with AsyncExitStack() as opened:
        credential = await open_credential(connections, opened)
        redis = connect(connections.redis_url, BreakerSettings.from_mapping(settings))
        opened.push_async_callback(redis.aclose)
        hub = await opened.enter_async_context(hub_client(connections, credential))
        container = await open_container(connections, credential, opened, CONTAINER)
        queue, _ = await open_poison_storage(connections, credential, opened)
        name, group = connections.event_hub_name, connections.event_hub_consumer_group
        progress = RedisProgressStore(
            redis,
            ttl_seconds=processing.progress_ttl_seconds,
            namespace=connections.namespace,
        )
        yield Partitions(
            LagReader(hub, progress, hub=name, group=group),
            HostCheckpoints(container, namespace=connections.namespace, hub=name, group=group),
            queue,
            lease_seconds,
        )


@asynccontextmanager
async def open_hub(
    settings: Mapping[str, str], *, group: str
) -> AsyncIterator[EventHubConsumerClient]:
    """The hub, as a consumer group of the console's own reads it.

    Raises:
        SettingsError: a setting is missing, unknown or out of bounds.
    """
    connections = replace(ConnectionSettings.from_mapping(settings), event_hub_consumer_group=group)
    async with AsyncExitStack() as opened:
        credential = await open_credential(connections, opened)
        yield await opened.enter_async_context(hub_client(connections, credential))
