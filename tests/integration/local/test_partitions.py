"""The partition table of `python -m local status` on a real stack."""

from __future__ import annotations

import contextlib
import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.exceptions import ResourceExistsError
from azure.eventhub import EventData, EventHubProducerClient
from azure.storage.blob import ContainerClient

from local.files import write_json
from local.partitions import read_partitions
from local.services.ports import free_port
from local.state_directory import StateDirectory
from tests.support.local.functions_host import Hosts, host_processes
from tests.support.processes import run_local, wait_for


@pytest.fixture
def hub(stack: dict[str, Any]) -> Iterator[str]:
    name = f"hub{uuid.uuid4().hex[:12]}"
    url = f"{stack['event_hub_control_url']}/hubs/{name}"
    assert httpx.put(url, json={"partitionCount": 2}).is_success
    yield name
    httpx.delete(url)


@pytest.fixture
def hosts(stack: dict[str, Any], hub: str, tmp_path: Path) -> Iterator[Hosts]:
    (tmp_path / "behaviour").write_text("return")
    settings = {
        "AzureWebJobsStorage": stack["storage_connection_string"],
        "EventHubConnection": stack["event_hub_connection"],
        "HUB": hub,
        "RECORDS": str(tmp_path / "records"),
        "BEHAVIOUR": str(tmp_path / "behaviour"),
    }
    with host_processes(tmp_path, settings) as hosts:
        yield hosts


def _send(stack: dict[str, Any], hub: str, count: int) -> None:
    with EventHubProducerClient.from_connection_string(
        stack["event_hub_connection"], eventhub_name=hub
    ) as producer:
        producer.send_batch([EventData("x") for _ in range(count)], partition_id="0")


@pytest.mark.long
def test_status_shows_owners_leases_checkpoints_and_lag(
    stack: dict[str, Any], hub: str, hosts: Hosts, tmp_path: Path
) -> None:
    directory = StateDirectory(Path(stack["state_dir"]))

    def lines(found: dict[str, Any]) -> list[dict[str, Any]]:
        # On a busy machine a slow service is a problem until the next poll.
        ours = [line for line in found["partitions"] if line["event_hub"] == hub]
        return [] if found["problems"] else ours

    def wait_for_lines(expected: Any, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = wait_for(
            lambda: (now := lines(read_partitions(directory))) and expected(*now) and now, what
        )
        return found

    _send(stack, hub, 3)
    host = hosts.start("events", "--hosts", str(directory.hosts), "--index", "7")
    found = wait_for_lines(
        lambda zero, one: zero["checkpoint_sequence_number"] == 2 and one["owner"],
        "the checkpoint",
    )
    assert [line["partition"] for line in found] == ["0", "1"]
    assert {line["owner"] for line in found} == {f"instance 7 (pid {host.pid})"}
    assert all(line["lease_left_seconds"] <= 4 for line in found)  # the harness's lease
    assert [line["lag"] for line in found] == [0, 0]

    (tmp_path / "behaviour").write_text("hang")
    _send(stack, hub, 5)
    wait_for_lines(lambda zero, one: zero["lag"] == 5, "the lag")
    wait_for(
        lambda: f"instance 7 (pid {host.pid})" in _status(directory).stdout, "the table with it"
    )

    host.kill()
    zero, _ = wait_for(lambda: lines(json.loads(_status(directory, "--json").stdout)), "the table")
    assert zero["owner"] == f"pid {host.pid} (gone)"
    assert (zero["checkpoint_sequence_number"], zero["lag"]) == (2, 5)
    (directory.hosts / f"{host.pid}.json").unlink()


def _status(directory: StateDirectory, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_local("status", *arguments, "--state-dir", directory.path)


def test_status_names_the_services_that_do_not_answer(
    stack: dict[str, Any], tmp_path: Path
) -> None:
    directory = StateDirectory(tmp_path)
    silent = free_port()
    write_json(
        directory.endpoints_file,
        {**stack, "event_hub_control_url": f"http://127.0.0.1:{silent}"},
    )
    with ContainerClient.from_connection_string(
        stack["storage_connection_string"], "azure-webjobs-eventhub"
    ) as container:
        with contextlib.suppress(ResourceExistsError):
            container.create_container()
        name = f"127.0.0.1/{uuid.uuid4().hex}/$default/ownership/0"
        container.upload_blob(name, b"", metadata={"ownerid": "somebody"})
    # Storage answers, but may be slow on a busy machine; the hub never answers.
    found = wait_for(
        lambda: (now := read_partitions(directory))["partitions"] and now, "storage's answer"
    )
    assert [problem.partition(":")[0] for problem in found["problems"]] == [
        "Event Hubs did not answer, the lag is unknown"
    ]
    assert "somebody" in {line["owner"] for line in found["partitions"]}
    storage = f"AccountName=a;AccountKey=YQ==;BlobEndpoint=http://127.0.0.1:{silent}/a;"
    write_json(directory.endpoints_file, {**stack, "storage_connection_string": storage})
    found = read_partitions(directory)
    assert found["partitions"] == []
    assert [problem.partition(":")[0] for problem in found["problems"]] == [
        "storage did not answer, partitions cannot be shown"
    ]
    without_partitions = run_local("status", "--json", "--services", "--state-dir", directory.path)
    assert json.loads(without_partitions.stdout)["problems"] == []
