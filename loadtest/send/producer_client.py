"""The producer's client, alone: its process starts without the other SDKs, which take a second."""

from __future__ import annotations

from typing import Any

from azure.eventhub import EventHubProducerClient


def event_hub_producer(
    connection: str, namespace: str, event_hub: str, **options: Any
) -> EventHubProducerClient:
    """A client without coroutines, by connection string, or by identity where there is none."""
    if connection:
        return EventHubProducerClient.from_connection_string(
            connection, eventhub_name=event_hub, **options
        )
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - slow to import

    return EventHubProducerClient(namespace, event_hub, DefaultAzureCredential(), **options)
