"""The SDK clients for a local stack and Azure, by connection string or by identity."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

import redis.asyncio
from azure.identity.aio import DefaultAzureCredential
from azure.storage.blob.aio import BlobServiceClient, ContainerClient
from azure.storage.queue.aio import QueueClient
from redis.maint_notifications import MaintNotificationsConfig

from loadtest.target.endpoints import Endpoints

_MANAGEMENT_SCOPE = "https://management.azure.com/.default"
_REDIS_SCOPE = "https://redis.azure.com/.default"


async def poison_queue(endpoints: Endpoints, opened: AsyncExitStack, **options: Any) -> QueueClient:
    """Return a client for the poison queue, closed with `opened`."""
    name = endpoints.poison_queue
    if endpoints.storage_connection_string:
        client = QueueClient.from_connection_string(
            endpoints.storage_connection_string, name, **options
        )
    else:
        credential = await opened.enter_async_context(DefaultAzureCredential())
        client = QueueClient(endpoints.storage_queue_uri, name, credential, **options)
    return await opened.enter_async_context(client)


async def blob_service(endpoints: Endpoints, opened: AsyncExitStack) -> BlobServiceClient:
    """Return a client for the blobs of the app's account, closed with `opened`."""
    return await _blobs(endpoints.storage_connection_string, endpoints.storage_blob_uri, opened)


async def blob_container(
    endpoints: Endpoints, name: str, opened: AsyncExitStack
) -> ContainerClient:
    """Return a client for one container of the host's account, closed with `opened`."""
    connection, uri = endpoints.host_storage_connection_string, endpoints.host_storage_blob_uri
    if not connection and not uri:
        connection, uri = endpoints.storage_connection_string, endpoints.storage_blob_uri
    return (await _blobs(connection, uri, opened)).get_container_client(name)


async def _blobs(connection: str, uri: str, opened: AsyncExitStack) -> BlobServiceClient:
    if connection:
        client = BlobServiceClient.from_connection_string(connection)
    else:
        credential = await opened.enter_async_context(DefaultAzureCredential())
        client = BlobServiceClient(uri, credential)
    return await opened.enter_async_context(client)


def redis_options(endpoints: Endpoints) -> dict[str, Any]:
    """Return the options of a Redis client besides the URL: credentials, no maintenance notices."""
    options: dict[str, Any] = {
        "maint_notifications_config": MaintNotificationsConfig(enabled=False)
    }
    if not endpoints.redis_by_identity:
        return options
    from redis_entraid.cred_provider import (  # type: ignore[import-untyped]  # noqa: PLC0415
        create_from_default_azure_credential,
    )

    return options | {"credential_provider": create_from_default_azure_credential((_REDIS_SCOPE,))}


def async_redis(endpoints: Endpoints, **options: Any) -> redis.asyncio.Redis:
    """Return an asynchronous Redis client."""
    options = redis_options(endpoints) | {"connection_class": _Connection} | options
    return _Client.from_url(endpoints.redis_url, **options)


class _Client(redis.asyncio.Redis):
    """A client that closes its connections also if its task is cancelled then.

    redis-py 8.1 counts the users of a client before it closes the client. A cancellation that
    arrives during the count leaves all connections open, and one that arrives later some of them.
    """

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.aclose()
        except asyncio.CancelledError:
            await self.aclose()
            raise


class _Connection(redis.asyncio.Connection):
    """A connection that opens again after a reset.

    Python up to 3.13.0 raises an AttributeError for a write to a connection that was reset.
    """

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        if self._writer is not None and self._writer.is_closing():
            await self.disconnect(nowait=True)
        await super().send_packed_command(command, check_health)


async def management_headers(endpoints: Endpoints, opened: AsyncExitStack) -> dict[str, str]:
    """Return the Authorization header for Azure Resource Manager; none for a local stack."""
    if not endpoints.is_azure:
        return {}
    credential = await opened.enter_async_context(DefaultAzureCredential())
    token = await credential.get_token(_MANAGEMENT_SCOPE)
    return {"Authorization": f"Bearer {token.token}"}
