"""The clients of Azure's SDKs, built from the app settings, each opened once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import cached_property
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.eventhub.aio import EventHubConsumerClient
from azure.identity.aio import DefaultAzureCredential
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue.aio import QueueClient

from breaker import BreakerSettings
from processing.circuit_wiring import CircuitWiring
from processing.handlers.debugging import processing_settings
from processing.settings import ConnectionSettings, ProcessingSettings
from processing.storage.clients import StorageClients


class ClientWiring(CircuitWiring):
    """A builder of the SDKs' clients; `opened` closes all parts in reverse order.

    Settings are read when the first part needs them. Each read may raise `SettingsError` or
    `breaker.SettingsError`: a setting is missing, unknown or out of bounds.

    Args:
        settings: the app settings.
        opened: closes the parts; the caller closes the stack.
        breaking, processing: settings of the circuit and of processing, instead of those in
            `settings`.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        opened: AsyncExitStack,
        *,
        breaking: BreakerSettings | None = None,
        processing: ProcessingSettings | None = None,
    ) -> None:
        super().__init__(settings, opened, breaking=breaking)
        self._processing = processing
        self._identities: dict[str, AsyncTokenCredential] = {}
        self._storage = StorageClients(opened, self._identity)
        self._hubs: dict[str, EventHubConsumerClient] = {}

    @cached_property
    def connections(self) -> ConnectionSettings:
        """The addresses and credentials of all services."""
        return ConnectionSettings.from_mapping(self._settings)

    @cached_property
    def processing(self) -> ProcessingSettings:
        """The settings of processing."""
        return self._processing or processing_settings(self._settings)

    def read(self) -> tuple[ConnectionSettings, ProcessingSettings, BreakerSettings]:
        """Read all settings, so that an error is raised before any connection is opened."""
        return self.connections, self.processing, self.breaking

    @property
    def redis_url(self) -> str:
        """The address of Redis."""
        return self.connections.redis_url

    @cached_property
    def credential(self) -> AsyncTokenCredential | None:
        """An identity for every connection without a key; it connects at its first use."""
        connections = self.connections
        topic_has_key = (
            connections.event_grid_topic_key or not connections.event_grid_topic_endpoint
        )
        if connections.host_storage.connection and connections.event_hub and topic_has_key:
            return None
        return self._identity(connections.host_storage.client_id)

    def _identity(self, client_id: str) -> AsyncTokenCredential:
        if client_id not in self._identities:
            options = {"managed_identity_client_id": client_id} if client_id else {}
            credential = DefaultAzureCredential(**options)
            self._opened.push_async_callback(credential.close)
            self._identities[client_id] = credential
        return self._identities[client_id]

    async def queue(self) -> QueueClient:
        """Open the poison queue's client in the app's account; the queue may not exist yet."""
        return (await self._queues())[0]

    async def container(self, name: str) -> ContainerClient:
        """Open a container's client in the app's account; the container may not exist yet."""
        return await self._storage.container(self.connections.app_storage, name)

    async def _queues(self) -> list[QueueClient]:
        """Open the poison queue in the app's account, and in the host's if that is another one."""
        app, host = self.connections.app_storage, self.connections.host_storage
        accounts = [app] if app.has_queues_of(host) else [app, host]
        name = self.connections.poison_queue
        return [await self._storage.queue(each, name) for each in accounts]

    async def _containers(self) -> list[ContainerClient]:
        """Open the container of claim checks and marks, in the same accounts as the queue."""
        app, host = self.connections.app_storage, self.connections.host_storage
        accounts = [app] if app.has_blobs_of(host) else [app, host]
        name = self.connections.poison_queue
        return [await self._storage.container(each, name) for each in accounts]

    async def hub(self, *, group: str | None = None) -> EventHubConsumerClient:
        """Open the event hub's client, for the app's consumer group or another one."""
        connections = self.connections
        group = group or connections.event_hub_consumer_group
        if group not in self._hubs:
            common: dict[str, Any] = {
                "consumer_group": group,
                "eventhub_name": connections.event_hub_name,
            }
            if text := connections.event_hub:
                client = EventHubConsumerClient.from_connection_string(text, **common)
            else:
                client = EventHubConsumerClient(
                    connections.namespace,
                    credential=self._identity(connections.hub_client_id),
                    **common,
                )
            self._hubs[group] = await self._opened.enter_async_context(client)
        return self._hubs[group]
