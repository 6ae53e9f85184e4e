"""The host's own notes in blob storage: who owns which partition, and the checkpoints."""

from __future__ import annotations

from azure.core.exceptions import AzureError
from azure.storage.blob.aio import ContainerClient

CONTAINER = "azure-webjobs-eventhub"


async def read_owners(connection_string: str, hub: str, group: str) -> dict[str, str]:
    """Partition → owner id, for the owned partitions; empty if storage does not tell."""
    infix = f"/{hub}/{group}/ownership/".lower()
    owners: dict[str, str] = {}
    try:
        async with ContainerClient.from_connection_string(connection_string, CONTAINER) as blobs:
            async for blob in blobs.list_blobs(include=["metadata"]):
                _, found, partition = str(blob.name).rpartition(infix)
                if found and (owner := (blob.metadata or {}).get("ownerid")):
                    owners[partition] = owner
    except AzureError:
        return {}
    return dict(sorted(owners.items()))


async def delete_checkpoints(connection_string: str, hub: str, group: str) -> int:
    """Delete the checkpoints of a consumer group; how many. Its next owner starts at the beginning.

    Raises:
        AzureError: storage does not answer.
    """
    infix = f"/{hub}/{group}/checkpoint/".lower()
    async with ContainerClient.from_connection_string(connection_string, CONTAINER) as blobs:
        found = [name async for name in blobs.list_blob_names() if infix in name]
        for name in found:
            await blobs.delete_blob(name)
    return len(found)
