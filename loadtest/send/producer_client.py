"""The producer's client, kept apart because importing the other SDKs takes a second."""

from __future__ import annotations

from typing import Any

from azure.eventhub import EventHubProducerClient


def event_hub_producer(
    connection: str, namespace: str, event_hub: str, **options: Any
) -> EventHubProducerClient:
    """Return a synchronous client, by connection string or, if that is "", by identity."""
    if connection:
        return EventHubProducerClient.from_connection_string(
            connection, eventhub_name=event_hub, **options
        )
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - slow to import

    return EventHubProducerClient(namespace, event_hub, DefaultAzureCredential(), **options)
