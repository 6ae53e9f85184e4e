"""The parts that the app settings name. The app and its operator's tools are both put together from
these, so that a setting means the same to either.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import cached_property
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.eventhub.aio import EventHubConsumerClient
from azure.identity.aio import DefaultAzureCredential
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker import BreakerSettings, CircuitBreaker, RedisCircuitStore
from breaker.alerts.event_grid import EventGridPublisher
from breaker.stores.redis import connect
from processing.handlers.loading import LoadedHandler, load_handler
from processing.parking.redis import RedisParkingStore
from processing.partitions.checkpoints import CONTAINER, HostCheckpoints
from processing.poison.claim_check_blobs import ClaimCheckBlobs
from processing.progress.redis import RedisProgressStore
from processing.settings import ConnectionSettings, ProcessingSettings


class Wiring:
    """Builds parts; what has to be closed is, with `opened`, in the opposite order.

    Settings are read when the first part needs them, and each read may raise `SettingsError` or
    `breaker.SettingsError`: one is missing, unknown or out of bounds.

    Args:
        settings: the app settings.
        opened: the caller's to close.
    """

    def __init__(self, settings: Mapping[str, str], opened: AsyncExitStack) -> None:
        self._settings = settings
        self._opened = opened

    @cached_property
    def connections(self) -> ConnectionSettings:
        """Where everything is."""
        return ConnectionSettings.from_mapping(self._settings)

    @cached_property
    def processing(self) -> ProcessingSettings:
        """How events are processed."""
        return ProcessingSettings.from_mapping(self._settings)

    @cached_property
    def breaking(self) -> BreakerSettings:
        """When the circuit opens, and how Redis is reached."""
        return BreakerSettings.from_mapping(self._settings)

    def read(self) -> tuple[ConnectionSettings, ProcessingSettings, BreakerSettings]:
        """All of them now, so that a wrong one is told of before anything is opened."""
        return self.connections, self.processing, self.breaking

    def handler(self, late: Callable[[], None] = lambda: None) -> LoadedHandler:
        """The handler; `late` is told of calls that do not end in time.

        Raises:
            HandlerLoadError: EVENT_HANDLER names nothing that can handle events.
        """
        handler = load_handler(
            self.connections.event_handler,
            self._settings,
            threads=self.processing.max_lanes,
            timeout_seconds=self.processing.handler_timeout_seconds,
            late=late,
        )
        self._opened.push_async_callback(handler.aclose)
        return handler

    @cached_property
    def credential(self) -> AsyncTokenCredential | None:
        """An identity, if any connection is without a key; one for all."""
        credential = credential_for(self.connections)
        if credential is not None:
            self._opened.push_async_callback(credential.close)
        return credential

    @cached_property
    def redis(self) -> Redis | RedisCluster:
        """The one connection pool for everything that is kept in Redis."""
        client = connect(self.connections.redis_url, self.breaking)
        self._opened.push_async_callback(client.aclose)
        return client

    async def breaker(self, publisher: EventGridPublisher | None = None) -> CircuitBreaker:
        """The circuit, watched; without a publisher its alerts are left to others."""
        breaker = CircuitBreaker(
            RedisCircuitStore(
                self.redis,
                self.breaking.name,
                timeout_seconds=self.breaking.store_timeout_seconds,
            ),
            self.breaking,
            publisher=publisher,
            instance=instance_name(),
        )
        return await self._opened.enter_async_context(breaker)

    def progress(self) -> RedisProgressStore:
        """Which events are finished."""
        return RedisProgressStore(
            self.redis,
            ttl_seconds=self.processing.progress_ttl_seconds,
            namespace=self.connections.namespace,
        )

    def parking(self, *, look_seconds: float | None = None) -> RedisParkingStore:
        """Where parked events are; who looks may wait for no more than `look_seconds`."""
        return RedisParkingStore(
            self.redis,
            most=self.processing.parked_events_max,
            ttl_seconds=self.processing.progress_ttl_seconds,
            namespace=self.connections.namespace,
            look_seconds=look_seconds,
        )

    async def poison(self) -> tuple[QueueClient, ClaimCheckBlobs]:
        """The poison queue, and its claim checks."""
        queue, container = await open_poison_storage(
            self.connections, self.credential, self._opened
        )
        return queue, ClaimCheckBlobs(container)

    async def hub(self) -> EventHubConsumerClient:
        """The event hub, as the app's consumer group reads it."""
        client = hub_client(self.connections, self.credential)
        return await self._opened.enter_async_context(client)

    async def checkpoints(self) -> HostCheckpoints:
        """The host's checkpoints of that hub."""
        connections = self.connections
        return HostCheckpoints(
            await open_container(connections, self.credential, self._opened, CONTAINER),
            namespace=connections.namespace,
            hub=connections.event_hub_name,
            group=connections.event_hub_consumer_group,
        )


def instance_name() -> str:
    """Who this instance is, in alerts, history and poison messages."""
    host = os.environ.get("WEBSITE_INSTANCE_ID", "")[:12] or socket.gethostname()
    return f"{host}:{os.getpid()}"


# The SDK's own retries begin with a pause of 15 s; ours, in the run, are quicker to notice.
RETRIES: dict[str, Any] = {"initial_backoff": 1, "increment_base": 2, "retry_total": 2}


async def open_credential(
    connections: ConnectionSettings, opened: AsyncExitStack
) -> AsyncTokenCredential | None:
    """See `credential_for`; closed with the rest."""
    credential = credential_for(connections)
    return None if credential is None else await opened.enter_async_context(credential)


def credential_for(connections: ConnectionSettings) -> DefaultAzureCredential | None:
    """An identity, if any connection is without a key; it connects at its first use."""
    if (
        connections.storage
        and connections.event_hub
        and (connections.event_grid_topic_key or not connections.event_grid_topic_endpoint)
    ):
        return None
    options = {"managed_identity_client_id": connections.client_id} if connections.client_id else {}
    return DefaultAzureCredential(**options)


async def open_poison_storage(
    connections: ConnectionSettings,
    credential: AsyncTokenCredential | None,
    opened: AsyncExitStack,
) -> tuple[QueueClient, ContainerClient]:
    """The poison queue, and the container of its claim checks."""
    name = connections.poison_queue
    options = RETRIES | {"message_encode_policy": TextBase64EncodePolicy()}
    if connections.storage:
        queue = QueueClient.from_connection_string(connections.storage, name, **options)
    else:
        queue = QueueClient(connections.storage_queue_uri, name, credential, **options)
    await opened.enter_async_context(queue)
    return queue, await open_container(connections, credential, opened, name)


async def open_container(
    connections: ConnectionSettings,
    credential: AsyncTokenCredential | None,
    opened: AsyncExitStack,
    name: str,
) -> ContainerClient:
    """A blob container, which may not exist yet."""
    if connections.storage:
        container = ContainerClient.from_connection_string(connections.storage, name, **RETRIES)
    else:
        container = ContainerClient(connections.storage_blob_uri, name, credential, **RETRIES)
    return await opened.enter_async_context(container)


def hub_client(
    connections: ConnectionSettings, credential: AsyncTokenCredential | None
) -> EventHubConsumerClient:
    """The event hub, as the app's consumer group reads it."""
    common: dict[str, Any] = {
        "consumer_group": connections.event_hub_consumer_group,
        "eventhub_name": connections.event_hub_name,
    }
    if connections.event_hub:
        return EventHubConsumerClient.from_connection_string(connections.event_hub, **common)
    return EventHubConsumerClient(
        connections.namespace,
        credential=credential,  # type: ignore[arg-type]
        **common,
    )
