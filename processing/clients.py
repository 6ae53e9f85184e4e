"""Clients of the services that the settings name, for the app and for its operator's tools."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.eventhub.aio import EventHubConsumerClient
from azure.identity.aio import DefaultAzureCredential
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient

from processing.settings import ConnectionSettings

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
