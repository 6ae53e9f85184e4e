"""Which host instance owns which partition, as the host notes it in blob storage."""

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
