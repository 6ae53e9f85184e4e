"""The shared fixtures, used by stock clients."""

from __future__ import annotations

from azure.eventhub import EventHubProducerClient
from azure.storage.blob import BlobServiceClient

from tests.conftest import EventHubsEndpoint


def test_azurite(azurite: str) -> None:
    with BlobServiceClient.from_connection_string(azurite) as service:
        container = service.create_container("fixture-test")
        container.upload_blob("name", b"data")
        assert container.download_blob("name").readall() == b"data"


def test_event_hubs(event_hubs: EventHubsEndpoint) -> None:
    with EventHubProducerClient.from_connection_string(
        event_hubs.connection_string, eventhub_name=event_hubs.hub
    ) as producer:
        assert len(producer.get_partition_ids()) == event_hubs.partitions
