"""Several Event Hubs triggers in one app: two consumer groups of a hub, and a second hub."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from azure.eventhub import EventData, EventHubProducerClient
from azure.storage.blob import ContainerClient

from tests.conftest import EventHubsEndpoint
from tests.support.local.functions_host import Hosts, Records, host_processes
from tests.support.processes import wait_for

PARTITIONS = {"0", "1"}
FUNCTIONS = {"orders", "audit", "bills"}
EVERYTHING = {(name, partition) for name in FUNCTIONS for partition in PARTITIONS}


@dataclass
class TwoHubs:
    """Two new hubs of two partitions each, and a starter of hosts that read them."""

    endpoint: EventHubsEndpoint
    storage: str
    names: dict[str, str]
    hosts: Hosts
    records: Records
    held: Path

    def send(self, body: str) -> None:
        """Send one event to each partition of both hubs."""
        for hub in {self.names["orders"], self.names["bills"]}:
            with EventHubProducerClient.from_connection_string(
                self.endpoint.connection_string, eventhub_name=hub
            ) as producer:
                for partition in PARTITIONS:
                    producer.send_batch([EventData(body)], partition_id=partition)

    def blobs(self, function: str, kind: str, key: str) -> dict[str, str]:
        """Return a value of the metadata of the function's blobs, by partition."""
        group = "audit" if function == "audit" else "$default"
        part = f"/{self.names[function]}/{group}/{kind}/"
        with ContainerClient.from_connection_string(
            self.storage, "azure-webjobs-eventhub"
        ) as container:
            return {
                blob.name.rpartition("/")[2]: blob.metadata.get(key) or ""
                for blob in container.list_blobs(include=["metadata"])
                if part in blob.name
            }

    def owners(self, function: str) -> dict[str, int]:
        """Return the process ids of the owners by partition."""
        owners = self.blobs(function, "ownership", "ownerid")
        return {partition: int(owner.partition("-")[0]) for partition, owner in owners.items()}

    def checkpoints(self, function: str) -> dict[str, str]:
        return self.blobs(function, "checkpoint", "sequencenumber")

    def seen(self, body: str, event: str = "start") -> set[tuple[str, str, int]]:
        """Return function, partition and process of the invocations that got a body."""
        return {
            (line["function"], line["partition"], line["pid"])
            for line in self.records.read()
            if line["event"] == event and body in line["bodies"]
        }


@pytest.fixture
def two_hubs(azurite: str, event_hubs: EventHubsEndpoint, tmp_path: Path) -> Iterator[TwoHubs]:
    names = {name: f"{name}{uuid.uuid4().hex[:12]}" for name in ("orders", "bills")}
    for name in names.values():
        body = {"partitionCount": 2, "consumerGroups": ["audit"]}
        assert httpx.put(f"{event_hubs.control_url}/hubs/{name}", json=body).is_success
    records, held = Records(tmp_path / "records.jsonl"), tmp_path / "held"
    held.mkdir()
    settings = {
        "AzureWebJobsStorage": azurite,
        "EventHubConnection": event_hubs.connection_string,
        "ORDERS": names["orders"],
        "BILLS": names["bills"],
        "RECORDS": str(records.path),
        "HELD": str(held),
    }
    with host_processes(tmp_path, settings) as hosts:
        names["audit"] = names["orders"]
        yield TwoHubs(event_hubs, azurite, names, hosts, records, held)
    for name in names.values():
        httpx.delete(f"{event_hubs.control_url}/hubs/{name}")


def test_function_that_does_not_return_holds_only_its_own_checkpoint(two_hubs: TwoHubs) -> None:
    two_hubs.hosts.start("two_hubs").wait_started()
    _hold_one_function(two_hubs)


@pytest.mark.long
def test_two_hosts_share_the_partitions_of_each_function(two_hubs: TwoHubs) -> None:
    hosts = [two_hubs.hosts.start("two_hubs") for _ in range(2)]
    pids = {host.wait_started().pid for host in hosts}
    wait_for(
        lambda: all(set(two_hubs.owners(name).values()) == pids for name in FUNCTIONS),
        lambda: f"both hosts own a partition: {[two_hubs.owners(name) for name in FUNCTIONS]}",
    )
    _hold_one_function(two_hubs)
    assert {pid for _, _, pid in two_hubs.seen("first")} == pids
    # A host that stops hands over the partitions of each of its functions.
    assert hosts[0].terminate() == 0
    two_hubs.send("second")
    wait_for(
        lambda: two_hubs.seen("second") == {(*place, hosts[1].pid) for place in EVERYTHING},
        lambda: f"all calls on the other host: {two_hubs.seen('second')}",
    )


def _hold_one_function(two_hubs: TwoHubs) -> None:
    """Send an event to each partition; `orders` waits, and the other functions continue."""
    (two_hubs.held / "orders").touch()
    two_hubs.send("first")
    wait_for(lambda: {seen[:2] for seen in two_hubs.seen("first")} == EVERYTHING, "all calls")
    first = dict.fromkeys(PARTITIONS, "0")
    wait_for(
        lambda: two_hubs.checkpoints("audit") == two_hubs.checkpoints("bills") == first,
        lambda: f"checkpoints: {two_hubs.checkpoints('audit')}, {two_hubs.checkpoints('bills')}",
    )
    ended = {(line["function"], line["partition"]) for line in two_hubs.records.ends()}
    assert ended == {place for place in EVERYTHING if place[0] != "orders"}
    assert two_hubs.checkpoints("orders") == {}
    (two_hubs.held / "orders").unlink()
    wait_for(
        lambda: two_hubs.checkpoints("orders") == first,
        "the checkpoints of the function that waited",
    )
