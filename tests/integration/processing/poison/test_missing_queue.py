"""A deleted queue or container, and an identity that may only send (AZ-S4).

The account's signature has the rights of a sender; Azurite checks them as Azure does.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue import (
    AccountSasPermissions,
    ResourceTypes,
    TextBase64EncodePolicy,
    generate_account_sas,
)
from azure.storage.queue.aio import QueueClient

from local.services.azurite import ACCOUNT_KEY, APP_ACCOUNT
from processing.errors import StorageUnavailableError
from processing.parking.mark_blobs import MarkBlobs
from processing.parking.marks import Oldest, ParkingMark
from processing.poison.claim_check_blobs import ClaimCheckBlobs
from processing.poison.storage_queue import StoragePoisonQueue, StoragePoisonReader
from processing.storage.accounts import host_account
from tests.integration.processing.poison.test_storage_queue import poisoned
from tests.support.processing.events import SOURCE, event


@pytest.fixture
def sender(second_account: str) -> str:
    """Return a connection string that may write messages and blobs, and create nothing else."""
    host = host_account({"AzureWebJobsStorage": second_account})
    signature = generate_account_sas(
        APP_ACCOUNT,
        ACCOUNT_KEY,
        ResourceTypes(object=True),
        AccountSasPermissions(read=True, write=True, add=True, create=True),
        datetime.now(UTC) + timedelta(hours=1),
        protocol="https,http",
        services="bq",
    )
    return f"BlobEndpoint={host.blob};QueueEndpoint={host.queue};SharedAccessSignature={signature}"


async def test_error_names_the_command_that_creates_the_queue_again(
    sender: str, second_account: str
) -> None:
    """The error of the account says only that something is not authorized."""
    name = f"poison-{secrets.token_hex(4)}"
    async with (
        QueueClient.from_connection_string(
            sender, name, message_encode_policy=TextBase64EncodePolicy()
        ) as queue,
        ContainerClient.from_connection_string(sender, name) as container,
        QueueClient.from_connection_string(second_account, name) as owner,
        ContainerClient.from_connection_string(second_account, name) as owned,
    ):
        poison = StoragePoisonQueue(queue, ClaimCheckBlobs(container))
        mark = ParkingMark(SOURCE, "token", Oldest(1, 1), 1)
        with pytest.raises(StorageUnavailableError, match=f"az storage queue create --name {name}"):
            await poison.put(poisoned(event(1)))
        with pytest.raises(StorageUnavailableError, match="az storage container create"):
            await poison.put(poisoned(event(2, body=bytes(100_000))))
        with pytest.raises(StorageUnavailableError, match="az storage container create"):
            await MarkBlobs(container).write(mark, None)
        await owner.create_queue()
        await owned.create_container()
        await poison.put(poisoned(event(1)))
        await poison.put(poisoned(event(2, body=bytes(100_000))))
        await MarkBlobs(container).write(mark, None)


async def test_error_of_a_reader_names_the_account(sender: str) -> None:
    """An identity without rights in one of two accounts must not look like an outage of both."""
    async with QueueClient.from_connection_string(sender, "poison", retry_total=0) as queue:
        with pytest.raises(
            StorageUnavailableError, match=f"poison in the storage account .*{APP_ACCOUNT}"
        ):
            await StoragePoisonReader(queue).receive()
