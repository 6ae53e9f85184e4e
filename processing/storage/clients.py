"""The clients of the app's storage accounts, each opened once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient

from processing.storage.accounts import StorageAccount

# The SDK's default first pause is 15 s; shorter pauses notice a recovery sooner.
_RETRIES: dict[str, Any] = {"initial_backoff": 1, "increment_base": 2, "retry_total": 2}


class StorageClients:
    """A builder of queue and container clients.

    Args:
        opened: closes the clients; the caller closes the stack.
        identity: returns the credential of a client id, for an account without a connection string.
    """

    def __init__(
        self, opened: AsyncExitStack, identity: Callable[[str], AsyncTokenCredential]
    ) -> None:
        self._opened = opened
        self._identity = identity
        self._queues: dict[tuple[StorageAccount, str], QueueClient] = {}
        self._containers: dict[tuple[StorageAccount, str], ContainerClient] = {}

    async def queue(self, account: StorageAccount, name: str) -> QueueClient:
        """Open a queue's client; the queue may not exist yet."""
        if (found := self._queues.get((account, name))) is not None:
            return found
        options = _RETRIES | {"message_encode_policy": TextBase64EncodePolicy()}
        if account.connection:
            client = QueueClient.from_connection_string(account.connection, name, **options)
        else:
            identity = self._identity(account.client_id)
            client = QueueClient(account.queue, name, identity, **options)
        self._queues[account, name] = await self._opened.enter_async_context(client)
        return client

    async def container(self, account: StorageAccount, name: str) -> ContainerClient:
        """Open a blob container's client; the container may not exist yet."""
        if (found := self._containers.get((account, name))) is not None:
            return found
        if account.connection:
            client = ContainerClient.from_connection_string(account.connection, name, **_RETRIES)
        else:
            identity = self._identity(account.client_id)
            client = ContainerClient(account.blob, name, identity, **_RETRIES)
        self._containers[account, name] = await self._opened.enter_async_context(client)
        return client
