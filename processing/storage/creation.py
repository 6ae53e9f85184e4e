"""Creation of the app's queue and container at their first use.

On Azure the template has created both, and the app's identity may not create them: its role
allows it to send messages only.
"""

from __future__ import annotations

from contextlib import suppress

from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue.aio import QueueClient

from processing.errors import StorageUnavailableError

FORBIDDEN = 403


async def create_queue(queue: QueueClient) -> None:
    """Create a queue; another lane or instance may create the queue first.

    Raises:
        StorageUnavailableError: the identity may not create the queue; the text says what to do.
        AzureError: the account did not answer.
    """
    with suppress(ResourceExistsError):
        try:
            await queue.create_queue()
        except HttpResponseError as error:
            if error.status_code != FORBIDDEN:
                raise
            raise _refusal("queue", queue.queue_name, queue.account_name) from error


async def create_container(container: ContainerClient) -> None:
    """Create a container; another lane or instance may create the container first.

    Raises:
        StorageUnavailableError: the identity may not create the container; the text says what to
            do.
        AzureError: the account did not answer.
    """
    with suppress(ResourceExistsError):
        try:
            await container.create_container()
        except HttpResponseError as error:
            if error.status_code != FORBIDDEN:
                raise
            name, account = container.container_name, container.account_name
            raise _refusal("container", name, account) from error


def _refusal(kind: str, name: str, account: str | None) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"the {kind} {name} does not exist in the storage account {account}, and this identity may "
        f"not create it. Create the {kind} again with `az storage {kind} create --name {name} "
        f"--account-name {account} --auth-mode login`, or deploy the template again; the events "
        "wait until then"
    )
