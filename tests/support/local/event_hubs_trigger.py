"""A new hub with hosts that read it, for tests of the Event Hubs trigger."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from azure.core.exceptions import ResourceNotFoundError
from azure.eventhub import EventData, EventHubProducerClient, parse_connection_string
from azure.storage.blob import ContainerClient

from tests.conftest import EventHubsEndpoint
from tests.support.local.functions_host import Hosts, Records, host_processes


@dataclass
class Trigger:
    """A new hub, the hosts that read it, and the records and blobs of both."""

    endpoint: EventHubsEndpoint
    storage: str
    hub: str
    hosts: Hosts
    records: Records
    behaviour: Path
    container: ContainerClient

    def set_behaviour(self, behaviour: str) -> None:
        """Set the behaviour of the function: `return`, `raise` or `hang`."""
        fresh = self.behaviour.with_suffix(".new")
        fresh.write_text(behaviour)
        fresh.replace(self.behaviour)

    def send(self, *bodies: str, partition: str = "0") -> None:
        """Send events to one partition."""
        with self.producer() as producer:
            batch = producer.create_batch(partition_id=partition)
            for body in bodies:
                batch.add(EventData(body))
            producer.send_batch(batch)

    def producer(self) -> EventHubProducerClient:
        """Return a client of the hub; reuse the client, because its links are slow to open."""
        client: EventHubProducerClient = EventHubProducerClient.from_connection_string(
            self.endpoint.connection_string, eventhub_name=self.hub
        )
        return client

    def checkpoint(self, partition: str = "0") -> int | None:
        """Return the sequence number in the partition's checkpoint blob; None without a blob."""
        return self.checkpoints().get(partition)

    def checkpoints(self) -> dict[str, int]:
        """Return the sequence numbers in the checkpoint blobs, by partition."""
        found = self._blobs("checkpoint", "sequencenumber")
        return {partition: int(number) for partition, number in found.items()}

    def owners(self) -> dict[str, str]:
        """Return the owner ids by partition; "" for a released partition."""
        return self._blobs("ownership", "ownerid")

    @property
    def folder(self) -> str:
        """The path of the hub's blobs in the container."""
        namespace = parse_connection_string(self.endpoint.connection_string)
        return f"{namespace.fully_qualified_namespace}/{self.hub}/$default"

    def _blobs(self, kind: str, key: str) -> dict[str, str]:
        prefix = f"{self.folder}/{kind}/"
        with contextlib.suppress(
            ResourceNotFoundError
        ):  # before the first host creates the container
            blobs = list(self.container.list_blobs(prefix, include=["metadata"]))
            return {blob.name.removeprefix(prefix): blob.metadata.get(key) or "" for blob in blobs}
        return {}


@contextlib.contextmanager
def event_hubs_trigger(
    endpoint: EventHubsEndpoint, storage: str, directory: Path, *, partitions: int
) -> Iterator[Trigger]:
    """Create a hub, and yield it with a starter of hosts that run `tests/apps/events`."""
    hub = f"hub{uuid.uuid4().hex[:12]}"
    url = f"{endpoint.control_url}/hubs/{hub}"
    created = httpx.put(url, json={"partitionCount": partitions})
    assert created.is_success, created.text
    records, behaviour = Records(directory / "records.jsonl"), directory / "behaviour"
    settings = {
        "AzureWebJobsStorage": storage,
        "EventHubConnection": endpoint.connection_string,
        "HUB": hub,
        "RECORDS": str(records.path),
        "BEHAVIOUR": str(behaviour),
    }
    with (
        ContainerClient.from_connection_string(storage, "azure-webjobs-eventhub") as container,
        host_processes(directory, settings) as hosts,
    ):
        trigger = Trigger(endpoint, storage, hub, hosts, records, behaviour, container)
        trigger.set_behaviour("return")
        yield trigger
    httpx.delete(url)
