"""The partition owners and checkpoints that the host keeps in blob storage."""

from __future__ import annotations

from contextlib import AsyncExitStack

from azure.core.exceptions import AzureError

from loadtest.target.clients import blob_container
from loadtest.target.endpoints import Endpoints

CONTAINER = "azure-webjobs-eventhub"


async def read_owners(endpoints: Endpoints, group: str) -> dict[str, str]:
    """Return partition → owner id of the owned partitions; empty if storage does not respond."""
    infix = f"/{endpoints.event_hub_name}/{group}/ownership/".lower()
    owners: dict[str, str] = {}
    try:
        async with AsyncExitStack() as opened:
            blobs = await blob_container(endpoints, CONTAINER, opened)
            async for blob in blobs.list_blobs(include=["metadata"]):
                _, found, partition = str(blob.name).rpartition(infix)
                if found and (owner := (blob.metadata or {}).get("ownerid")):
                    owners[partition] = owner
    except AzureError:
        return {}
    return dict(sorted(owners.items()))


async def read_checkpoints(endpoints: Endpoints, group: str) -> dict[str, int]:
    """Return partition → sequence number of the checkpoint, for the partitions that have one.

    Raises:
        AzureError: storage does not respond.
    """
    infix = f"/{endpoints.event_hub_name}/{group}/checkpoint/".lower()
    numbers: dict[str, int] = {}
    async with AsyncExitStack() as opened:
        blobs = await blob_container(endpoints, CONTAINER, opened)
        async for blob in blobs.list_blobs(include=["metadata"]):
            _, found, partition = str(blob.name).rpartition(infix)
            if found:
                numbers[partition] = int((blob.metadata or {})["sequencenumber"])
    return dict(sorted(numbers.items()))


async def delete_checkpoints(endpoints: Endpoints, group: str) -> int:
    """Delete the checkpoints of a consumer group and return their number.

    The next owner of each partition starts at the first event.

    Raises:
        AzureError: storage does not respond.
    """
    infix = f"/{endpoints.event_hub_name}/{group}/checkpoint/".lower()
    async with AsyncExitStack() as opened:
        blobs = await blob_container(endpoints, CONTAINER, opened)
        found = [name async for name in blobs.list_blob_names() if infix in name]
        for name in found:
            await blobs.delete_blob(name)
    return len(found)
