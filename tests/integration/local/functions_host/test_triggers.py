"""HTTP, timer, Event Grid and queue functions, and the admin endpoints, in a real host process."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from azure.storage.blob import BlobClient
from azure.storage.queue import QueueClient

from local.event_grid.events import GridEvent, Schema
from local.event_grid.subscription import Subscription
from local.event_grid.webhook import Webhook
from tests.support.local.functions_host import HostProcess, Records, host_processes, wait_for_status
from tests.support.processes import wait_for


@pytest.fixture(scope="module")
def queue(azurite: str) -> Iterator[QueueClient]:
    with QueueClient.from_connection_string(azurite, f"q{uuid.uuid4().hex[:12]}") as client:
        client.create_queue()
        yield client


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    return Records(tmp_path_factory.mktemp("records") / "records.jsonl")


@pytest.fixture(scope="module")
def host(
    tmp_path_factory: pytest.TempPathFactory, azurite: str, records: Records, queue: QueueClient
) -> Iterator[HostProcess]:
    settings = {
        "AzureWebJobsStorage": azurite,
        "RECORDS": str(records.path),
        "SCHEDULE": "* * * * * *",
        "QUEUE": queue.queue_name,
        "AzureWebJobs.switched_off.Disabled": "true",
        "AzureFunctionsWebHost__hostid": uuid.uuid4().hex,
    }
    with host_processes(tmp_path_factory.mktemp("host"), settings) as hosts:
        yield hosts.start("triggers").wait_started()


def test_http_request_and_response_pass_whole(host: HostProcess) -> None:
    """Method, route and query parameters, headers and body in; status, headers, cookies out."""
    response = httpx.post(
        f"{host.url}/api/orders/17/a%2Fb?x=1", content="hello", headers={"X-Test": "yes"}
    )
    assert response.status_code == 201
    assert response.headers["content-type"].startswith("application/json")
    assert response.headers["x-made"] == "yes"
    assert response.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]
    answer = response.json()
    assert answer["method"] == "POST"
    assert answer["route"] == {"id": "17", "item": "a/b"}
    assert answer["query"] == {"x": "1"}
    assert answer["header"] == "yes"
    assert answer["body"] == "hello"
    assert answer["url"].startswith(host.url)


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/api/orders/x", "GET"),  # not an int
        ("/api/orders", "GET"),  # id is missing
        ("/api/orders/1", "DELETE"),  # not one of its methods
        ("/api/unknown", "GET"),
        ("/api/off", "GET"),  # disabled
    ],
)
def test_a_request_without_a_route_is_not_found(host: HostProcess, path: str, method: str) -> None:
    assert httpx.request(method, host.url + path).status_code == 404


def test_bytes_text_and_rest_of_path(host: HostProcess) -> None:
    raw = httpx.get(f"{host.url}/api/raw")
    assert raw.content == bytes(range(256))
    assert raw.headers["content-type"] == "application/octet-stream"
    assert httpx.get(f"{host.url}/api/text").text == "plain"
    assert httpx.get(f"{host.url}/api/files/a/b/c.txt").text == "a/b/c.txt"


def test_a_failing_http_function_is_a_500_and_its_traceback_is_logged(host: HostProcess) -> None:
    response = httpx.get(f"{host.url}/api/fails")
    assert (response.status_code, response.content) == (500, b"")
    assert "ValueError: failed on request" in host.output()
    assert "Executed 'Functions.fails' (Failed, Id=" in host.output()


def test_the_start_lists_functions_and_urls(host: HostProcess) -> None:
    output = host.output()
    assert f"\torders: [GET,POST] {host.url}/api/orders/{{id:int}}/{{item?}}\n" in output
    assert f"\tgrid: eventGridTrigger {host.url}/runtime/webhooks/EventGrid?functionName=grid" in (
        output
    )
    assert "\tswitched_off: httpTrigger (disabled)\n" in output


def test_a_timer_fires_at_startup_and_on_schedule(host: HostProcess, records: Records) -> None:
    wait_for(lambda: len(records.of("tick")) >= 3, "three ticks")
    assert records.of("tick")[0]["past_due"] is False


def _grid(host: HostProcess, body: object, kind: str | None = "Notification") -> httpx.Response:
    headers = {} if kind is None else {"aeg-event-type": kind}
    url = f"{host.url}/runtime/webhooks/EventGrid?functionName=grid"
    return httpx.post(url, json=body, headers=headers)


def _event(**data: object) -> dict[str, object]:
    return {
        "id": uuid.uuid4().hex,
        "topic": "t",
        "subject": "s",
        "eventType": "made",
        "eventTime": "2026-01-31T12:00:00Z",
        "dataVersion": "1",
        "data": data,
    }


def test_event_grid_subscription_handshake(host: HostProcess) -> None:
    event = _event(validationCode="abc", validationUrl="https://example.org")
    response = _grid(host, [event], "SubscriptionValidation")
    assert response.status_code == 200
    assert response.json() == {"validationResponse": "abc"}


def test_cloud_events_handshake(host: HostProcess) -> None:
    url = f"{host.url}/runtime/webhooks/EventGrid?functionName=grid"
    response = httpx.options(url, headers={"WebHook-Request-Origin": "example.org"})
    assert response.status_code == 200
    assert response.headers["WebHook-Allowed-Origin"] == "example.org"


def test_event_grid_takes_an_array_and_an_object(host: HostProcess, records: Records) -> None:
    first, second, third = _event(n=1), _event(n=2), _event(n=3)
    assert _grid(host, [first, second]).status_code == 202
    assert _grid(host, third).status_code == 202
    sent = [event["id"] for event in (first, second, third)]
    seen = [
        line for line in records.of("grid") if line["id"] in sent
    ]  # other tests use the host too
    assert [line["id"] for line in seen] == sent
    assert seen[0]["subject"] == "s"


@pytest.mark.parametrize("schema", list(Schema))
async def test_our_own_topic_and_the_webhook_agree_in_both_schemas(
    host: HostProcess, records: Records, schema: Schema
) -> None:
    """Handshake and delivery between the two endpoints of the local stack."""
    url = f"{host.url}/runtime/webhooks/EventGrid?functionName=grid"
    subscription = Subscription("hook", url, schema=schema)
    payload = _event(n=7)
    event = GridEvent(str(payload["id"]), "made", "", payload, Schema.EVENT_GRID)
    async with httpx.AsyncClient() as client:
        webhook = Webhook(client)
        await webhook.validate(subscription, "breakwater")
        assert await webhook.deliver(subscription, event, "breakwater", 0) == 202
    (line,) = (line for line in records.of("grid") if line["id"] == event.id)
    assert (line["subject"], line["data"]) == ("s", {"n": 7})


@pytest.mark.parametrize("kind", ["Other", None])
def test_event_grid_refuses_another_kind(host: HostProcess, kind: str | None) -> None:
    assert _grid(host, [_event()], kind).status_code == 400


def test_event_grid_refuses_an_invalid_event(host: HostProcess) -> None:
    assert _grid(host, ["text"]).status_code == 400
    assert _grid(host, [_event()], "SubscriptionValidation").status_code == 400
    url = f"{host.url}/runtime/webhooks/EventGrid?functionName=grid"
    headers = {"aeg-event-type": "Notification"}
    assert httpx.post(url, content=b"{", headers=headers).status_code == 400


def test_event_grid_gets_an_error_for_unknown_functions_and_failures(host: HostProcess) -> None:
    url = f"{host.url}/runtime/webhooks/EventGrid?functionName=nobody"
    response = httpx.post(url, json=[], headers={"aeg-event-type": "Notification"})
    assert (response.status_code, response.text) == (404, "cannot find function: 'nobody'")
    assert _grid(host, [_event(fail=True)]).status_code == 500


def test_a_queue_message_is_received_and_deleted(
    host: HostProcess, records: Records, queue: QueueClient
) -> None:
    queue.send_message(base64.b64encode(b"work").decode())
    found = wait_for(
        lambda: [line for line in records.of("take") if line["body"] == "work"], "the message"
    )
    assert found[0]["count"] == 1
    wait_for(lambda: queue.get_queue_properties().approximate_message_count == 0, "its deletion")


def test_a_queue_message_that_keeps_failing_goes_to_the_poison_queue(
    host: HostProcess, records: Records, queue: QueueClient, azurite: str
) -> None:
    queue.send_message(base64.b64encode(b"fail").decode())
    poison = f"{queue.queue_name}-poison"
    wait_for(lambda: "Moving message to queue" in host.output(), "the move")
    with QueueClient.from_connection_string(azurite, poison) as client:
        messages = wait_for(lambda: list(client.receive_messages()), "the poison message")
    assert base64.b64decode(messages[0].content) == b"fail"
    counts = [line["count"] for line in records.of("take") if line["body"] == "fail"]
    assert counts == [1, 2, 3]


def test_admin_describes_the_host_and_its_functions(host: HostProcess) -> None:
    assert httpx.get(f"{host.url}/admin/host/status").json()["state"] == "Running"
    assert httpx.get(f"{host.url}/admin/host/ping").status_code == 200
    assert httpx.post(f"{host.url}/admin/host/ping").status_code == 200
    found = {item["name"]: item for item in httpx.get(f"{host.url}/admin/functions").json()}
    assert found["switched_off"]["isDisabled"] is True
    assert found["tick"]["config"]["bindings"][0]["type"] == "timerTrigger"
    assert httpx.get(f"{host.url}/admin/functions/tick/status").status_code == 200
    assert httpx.get(f"{host.url}/admin/functions/nobody").status_code == 404


def test_admin_runs_a_function_manually(host: HostProcess, records: Records) -> None:
    url = f"{host.url}/admin/functions"
    assert httpx.post(f"{url}/take", json={"input": "by hand"}).status_code == 202
    wait_for(lambda: [x for x in records.of("take") if x["body"] == "by hand"], "the run")
    before = len(records.of("tick"))
    assert httpx.post(f"{url}/tick", json={}).status_code == 202
    wait_for(lambda: len(records.of("tick")) > before, "the tick")
    assert httpx.post(f"{url}/grid", json={"input": "no event"}).status_code == 400
    assert httpx.post(f"{url}/grid", json={"input": _event(by="hand")}).status_code == 202
    assert httpx.post(f"{url}/nobody", json={}).status_code == 404
    assert httpx.post(f"{url}/take", content=b"{").status_code == 400


def test_drain_completes_and_resume_listens_again(
    tmp_path: Path, azurite: str, queue: QueueClient
) -> None:
    records = Records(tmp_path / "records.jsonl")
    settings = {
        "AzureWebJobsStorage": azurite,
        "RECORDS": str(records.path),
        "SCHEDULE": "* * * * * *",
        "QUEUE": f"other{uuid.uuid4().hex[:8]}",
        "AzureFunctionsWebHost__hostid": uuid.uuid4().hex,
    }
    with host_processes(tmp_path, settings) as hosts:
        host = hosts.start("triggers").wait_started()
        status = f"{host.url}/admin/host/drain/status"
        assert httpx.get(status).json()["state"] == "Disabled"
        wait_for(lambda: records.of("tick"), "a tick")
        assert httpx.post(f"{host.url}/admin/host/drain").status_code == 202
        wait_for_status(status, lambda found: found["state"] == "Completed", "the drain")
        wait_for(lambda: "listeners have stopped" in host.output(), "the listeners' end")
        before = len(records.of("tick"))
        resumed = httpx.post(f"{host.url}/admin/host/resume")
        assert (resumed.status_code, resumed.json()) == (200, {"state": "Running"})
        assert httpx.get(status).json()["state"] == "Disabled"
        wait_for(lambda: len(records.of("tick")) > before, "a tick after resuming")
        assert host.terminate() == 0
        assert not list(hosts.hosts_directory.glob("*.json"))


def test_a_timer_fires_on_one_instance_and_moves_when_it_stops(
    tmp_path: Path, azurite: str
) -> None:
    records = Records(tmp_path / "records.jsonl")
    settings = {
        "AzureWebJobsStorage": azurite,
        "RECORDS": str(records.path),
        "SCHEDULE": "* * * * * *",
        "QUEUE": f"other{uuid.uuid4().hex[:8]}",
        "AzureFunctionsWebHost__hostid": uuid.uuid4().hex,
    }
    with host_processes(tmp_path, settings) as hosts:
        pair = [hosts.start("triggers"), hosts.start("triggers")]
        for host in pair:
            host.wait_started()
        wait_for(lambda: len(records.of("tick")) >= 3, "three ticks")
        (first,) = {line["pid"] for line in records.of("tick")}
        next(host for host in pair if host.pid == first).terminate()
        other = next(host.pid for host in pair if host.pid != first)
        wait_for(lambda: records.of("tick")[-1]["pid"] == other, "a tick of the other instance")


def test_a_timer_makes_up_for_an_occurrence_without_a_host(tmp_path: Path, azurite: str) -> None:
    """The status blob has the due time, and the run at the next start is past due."""
    identity, records = uuid.uuid4().hex, Records(tmp_path / "records.jsonl")
    settings = {
        "AzureWebJobsStorage": azurite,
        "RECORDS": str(records.path),
        "SCHEDULE": "0 0 0 1 1 *",
        "QUEUE": f"q{identity[:12]}",
        "AzureFunctionsWebHost__hostid": identity,
    }
    path = f"timers/{identity}/Host.Functions.tick/status"
    with (
        BlobClient.from_connection_string(azurite, "azure-webjobs-hosts", path) as blob,
        host_processes(tmp_path, settings) as hosts,
    ):
        first = hosts.start("triggers").wait_started()
        wait_for(lambda: records.of("tick") and blob.exists(), "the first run and its status")
        status = wait_for(lambda: _ran(blob), "the status of the first run")
        assert first.terminate() == 0
        status |= {"Last": "2020-06-01T00:00:00+00:00", "Next": "2021-01-01T00:00:00+00:00"}
        blob.upload_blob(json.dumps(status), overwrite=True)
        hosts.start("triggers")
        wait_for(lambda: len(records.of("tick")) == 2, "the run at the next start")
        assert [line["past_due"] for line in records.of("tick")] == [False, True]
        wait_for(lambda: _ran(blob)["Last"] > status["Next"], "the status of that run")


def _ran(blob: BlobClient) -> dict[str, str]:
    """Return the status of a timer that has run, else {}."""
    status: dict[str, str] = json.loads(blob.download_blob().readall())
    return status if not status["Last"].startswith("0001") else {}
