"""Inputs and outputs of a real host process, with real storage and hubs."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator

import httpx
import pytest
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient

from tests.conftest import EventHubsEndpoint
from tests.support.local.functions_host import HostProcess, Records, host_processes
from tests.support.processes import wait_for


class Names:
    """Names in the shared services; each start of the host needs its own."""

    def __init__(self) -> None:
        ending = uuid.uuid4().hex[:12]
        self.container, self.new_container = f"old{ending}", f"new{ending}"
        self.hub, self.copies, self.queue = f"hub{ending}", f"copies{ending}", f"queue{ending}"


@pytest.fixture(scope="module")
def names() -> Names:
    return Names()


@pytest.fixture(scope="module")
def blobs(azurite: str, names: Names) -> Iterator[BlobServiceClient]:
    with BlobServiceClient.from_connection_string(azurite) as client:
        client.create_container(names.container)
        yield client


@pytest.fixture(scope="module")
def queue(azurite: str, names: Names) -> Iterator[QueueClient]:
    with QueueClient.from_connection_string(azurite, names.queue) as client:
        client.create_queue()
        yield client


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    return Records(tmp_path_factory.mktemp("records") / "records.jsonl")


@pytest.fixture(scope="module")
def host(
    tmp_path_factory: pytest.TempPathFactory,
    azurite: str,
    event_hubs: EventHubsEndpoint,
    *,
    names: Names,
    blobs: BlobServiceClient,
    queue: QueueClient,
    records: Records,
) -> Iterator[HostProcess]:
    for name in (names.hub, names.copies):
        url = f"{event_hubs.control_url}/hubs/{name}"
        assert httpx.put(url, json={"partitionCount": 1}).is_success
    settings = {
        "AzureWebJobsStorage": azurite,
        "EventHubConnection": event_hubs.connection_string,
        "HUB": names.hub,
        "COPIES": names.copies,
        "CONTAINER": names.container,
        "NEW": names.new_container,
        "QUEUE": names.queue,
        "RECORDS": str(records.path),
        "AzureFunctionsWebHost__hostid": uuid.uuid4().hex,
    }
    with host_processes(tmp_path_factory.mktemp("host"), settings) as hosts:
        yield hosts.start("bindings").wait_started()
    for name in (names.hub, names.copies):
        httpx.delete(f"{event_hubs.control_url}/hubs/{name}")


def test_outputs_become_events_and_return_values_the_next_events(
    host: HostProcess, records: Records
) -> None:
    """A text, a list and bytes; triggers of one event and of many; no event for no value."""
    sent = [
        httpx.post(f"{host.url}/api/announce", content='{"id": 1}'),
        httpx.post(f"{host.url}/api/announce/list", content="first second silent third"),
        httpx.post(f"{host.url}/api/announce/bytes"),
        httpx.post(f"{host.url}/api/announce", content="last"),
    ]
    assert [(answer.status_code, answer.text) for answer in sent] == [(200, "announced")] * 4

    def collected() -> list[str]:
        return [body for line in records.of("collect") for body in line["bodies"]]

    wait_for(lambda: "copy of last" in collected(), lambda: f"{collected()}\n{host.output()}")
    bodies = ['{"id": 1}', "first", "second", "third", "\xff\x00", "last"]
    assert collected() == [f"copy of {body}" for body in bodies]


def test_blob_is_copied_by_the_name_in_the_route(
    host: HostProcess, blobs: BlobServiceClient, names: Names
) -> None:
    blobs.get_blob_client(names.container, "Grüße.txt").upload_blob("äöü".encode())
    answer = httpx.get(f"{host.url}/api/copy/Grüße.txt")
    assert (answer.status_code, answer.text) == (200, "3 characters")
    copy = blobs.get_blob_client(names.container, "Grüße.txt-copy")
    assert copy.download_blob().readall() == "äöü".encode()


def test_missing_blob_is_no_value_and_writes_none(
    host: HostProcess, blobs: BlobServiceClient, names: Names
) -> None:
    assert httpx.get(f"{host.url}/api/copy/missing.txt").status_code == 404
    assert not blobs.get_blob_client(names.container, "missing.txt-copy").exists()


def test_message_names_a_blob_whose_bytes_are_returned_to_a_new_container(
    host: HostProcess, blobs: BlobServiceClient, queue: QueueClient, names: Names
) -> None:
    content = bytes(range(256))
    blobs.get_blob_client(names.container, "raw").upload_blob(content)
    queue.send_message(base64.b64encode(b"raw").decode())
    copy = blobs.get_blob_client(names.new_container, "raw-Copy")
    wait_for(copy.exists, lambda: f"the copy\n{host.output()}")
    assert copy.download_blob().readall() == content


def test_function_that_sets_no_response_answers_200(host: HostProcess) -> None:
    quiet = httpx.get(f"{host.url}/api/quiet")
    assert (quiet.status_code, quiet.content) == (200, b"")
    spoken = httpx.get(f"{host.url}/api/quiet", params={"text": "hello"})
    assert (spoken.status_code, spoken.text) == (202, "hello")


def test_admin_lists_inputs_and_outputs(host: HostProcess) -> None:
    found = httpx.get(f"{host.url}/admin/functions/copy_text").json()["config"]["bindings"]
    kinds = {(binding["type"], binding["direction"].lower()) for binding in found}
    assert kinds == {("httpTrigger", "in"), ("blob", "in"), ("blob", "out"), ("http", "out")}
