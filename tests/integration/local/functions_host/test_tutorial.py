"""The first steps of Microsoft's documentation; `tests/apps/tutorial` names the page of each."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator

import httpx
import pytest
from azure.storage.queue import QueueClient

from tests.support.local.functions_host import HostProcess, host_processes
from tests.support.processes import wait_for


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, azurite: str) -> Iterator[HostProcess]:
    settings = {
        "AzureWebJobsStorage": azurite,
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "AzureFunctionsWebHost__hostid": uuid.uuid4().hex,
    }
    with host_processes(tmp_path_factory.mktemp("host"), settings) as hosts:
        yield hosts.start("tutorial").wait_started()


@pytest.mark.parametrize("route", ["greeting", "GreetingExample"])
def test_the_http_example_takes_a_name_from_query_or_body(host: HostProcess, route: str) -> None:
    url = f"{host.url}/api/{route}"
    assert httpx.get(url, params={"name": "Azure"}).text == "Hello, Azure."
    assert httpx.post(url, json={"name": "Body"}).text == "Hello, Body."
    nameless = httpx.get(url)
    assert (nameless.status_code, nameless.text) == (200, "Who is there? Pass a name.")


def test_a_queue_output_starts_the_queue_trigger(host: HostProcess) -> None:
    name = uuid.uuid4().hex
    assert httpx.get(f"{host.url}/api/GreetingExample", params={"name": name}).status_code == 200
    line = f"A message of the queue: {name}"
    wait_for(lambda: line in host.output(), lambda: f"{line}\n{host.output()}")


def test_a_queue_message_is_passed_to_the_next_queue(host: HostProcess, azurite: str) -> None:
    body = uuid.uuid4().hex
    with QueueClient.from_connection_string(azurite, "inputqueue") as queue:
        queue.create_queue()
        queue.send_message(base64.b64encode(body.encode()).decode())
    start = "A message of the queue: "
    wait_for(
        lambda: [line for line in host.output().splitlines() if start in line and body in line],
        lambda: f"the second message\n{host.output()}",
    )


def test_the_timer_example_runs_on_startup(host: HostProcess) -> None:
    wait_for(lambda: "The timer has run (late: False)." in host.output(), "the first run")
