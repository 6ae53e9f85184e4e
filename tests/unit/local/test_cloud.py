"""The HTTP endpoints of the cloud process: keys, error forms, management of the site."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from local.services.cloud import SITE_PATH
from local.site import SiteState
from local.stack.cloud import CloudSettings, build_app
from local.state_directory import StateDirectory

KEY = {"aeg-sas-key": "key"}
BATCH = {**KEY, "content-type": "application/cloudevents-batch+json"}
EVENTS = "/topics/breakwater/api/events"
VERSION = {"api-version": "2025-03-01"}


def settings(directory: Path) -> CloudSettings:
    return CloudSettings(
        port=7080,
        directory=StateDirectory(directory),
        console_url="http://127.0.0.1:9",
        topic_key="key",
        console_token="token",
    )


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(settings(tmp_path))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://cloud") as client,
    ):
        yield client


def error_of(response: httpx.Response) -> tuple[int, str]:
    error = response.json()["error"]
    assert set(error) == {"code", "message"}
    assert error["message"]
    return response.status_code, error["code"]


def test_secrets_are_not_in_the_settings_repr(tmp_path: Path) -> None:
    assert "token" not in repr(settings(tmp_path)).replace("console_token", "")


@pytest.mark.parametrize("headers", [{}, {"aeg-sas-key": "wrong"}])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", EVENTS),
        ("GET", "/topics/breakwater/events"),
        ("GET", "/topics/breakwater/deadletters"),
        ("GET", "/topics/breakwater/subscriptions"),
        ("POST", "/topics/breakwater/subscriptions"),
    ],
)
async def test_topic_requests_need_the_topic_key(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]
) -> None:
    response = await client.request(method, path, headers=headers)
    assert error_of(response) == (401, "Unauthorized")


async def test_an_unknown_topic_is_not_found(client: httpx.AsyncClient) -> None:
    response = await client.post("/topics/other/api/events", headers=BATCH)
    assert error_of(response) == (404, "NotFound")


async def test_a_published_event_is_recorded(client: httpx.AsyncClient) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/b", "type": "t", "data": 5}
    response = await client.post(EVENTS, json=[event], headers=BATCH)
    assert (response.status_code, response.content) == (200, b"")
    record = (await client.get("/topics/breakwater/events", headers=KEY)).json()
    [recorded] = record["events"]
    assert recorded.pop("received_at")
    assert recorded == {"id": "1", "type": "t", "time": "", "data": 5, "deliveries": []}


async def test_malformed_events_are_refused_in_the_services_form(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post(EVENTS, content=b"[{}]", headers=BATCH)
    assert error_of(response) == (400, "BadRequest")
    response = await client.post(EVENTS, content=b"x", headers=KEY)
    assert error_of(response) == (415, "UnsupportedMediaType")


async def test_more_than_a_megabyte_is_refused_declared_or_not(client: httpx.AsyncClient) -> None:
    big = b" " * (1024 * 1024 + 1)

    async def in_chunks() -> AsyncIterator[bytes]:
        yield big

    for content in (big, in_chunks()):
        response = await client.post(EVENTS, content=content, headers=BATCH)
        assert error_of(response) == (413, "RequestEntityTooLarge")


async def test_the_workflow_is_subscribed_to_openings_from_the_start(
    client: httpx.AsyncClient,
) -> None:
    response = await client.get("/topics/breakwater/subscriptions", headers=KEY)
    [subscription] = response.json()["subscriptions"]
    assert subscription["event_types"] == ["breakwater.circuit.opened"]
    assert "sig" not in response.text


async def test_an_invalid_subscription_is_rejected_with_the_reason(
    client: httpx.AsyncClient,
) -> None:
    path = "/topics/breakwater/subscriptions"
    for content in (b"{", b"{}"):
        response = await client.post(path, content=content, headers=KEY)
        assert error_of(response) == (400, "BadRequest")
    response = await client.delete(f"{path}/none", headers=KEY)
    assert error_of(response) == (404, "NotFound")


async def test_the_workflows_urls_need_their_secret(client: httpx.AsyncClient) -> None:
    for query in ("", "?sig=wrong"):
        response = await client.post(f"/workflows/circuit-opened/trigger{query}")
        assert error_of(response) == (401, "Unauthorized")
    unknown = await client.post("/workflows/runs/none/callback?sig=x")
    assert error_of(unknown) == (404, "WorkflowRunNotFound")
    handshake = await client.options("/workflows/circuit-opened/trigger")
    assert "webhook-allowed-origin" not in handshake.headers


async def test_a_callback_cannot_be_fetched(client: httpx.AsyncClient) -> None:
    """A link preview sends a GET, which must not approve anything."""
    assert (await client.get("/workflows/runs/none/callback?sig=x")).status_code == 405


async def test_stop_and_start_change_the_site_and_are_recorded(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    site = SiteState(tmp_path)
    for operation, state in (("stop", "Stopped"), ("stop", "Stopped"), ("start", "Running")):
        response = await client.post(f"{SITE_PATH}/{operation}", params=VERSION)
        assert response.status_code == 200
        assert site.read() == state
        shown = (await client.get(SITE_PATH, params=VERSION)).json()
        assert shown["properties"]["state"] == state
    history = (await client.get(f"{SITE_PATH}/history", params=VERSION)).json()["value"]
    changes = [(entry["operation"], entry["from"], entry["to"]) for entry in history]
    assert changes == [
        ("stop", "Running", "Stopped"),
        ("stop", "Stopped", "Stopped"),
        ("start", "Stopped", "Running"),
    ]


async def test_live_instances_are_counted(client: httpx.AsyncClient, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.mkdir()
    (hosts / f"{os.getpid()}.json").write_text(json.dumps({"pid": os.getpid()}))
    (hosts / "999999999.json").write_text("{}")
    (hosts / "notes.json").write_text("{}")
    (hosts / "1.json").write_text("{}")
    # The record of a killed host whose process id now belongs to another process.
    os.utime(hosts / "1.json", (0, 0))
    shown = (await client.get(SITE_PATH, params=VERSION)).json()
    assert shown["properties"]["instances"] == 1
    StateDirectory(tmp_path).wipe()
    assert [record.stem for record in hosts.iterdir()] == [str(os.getpid())]


async def test_management_requires_an_api_version(client: httpx.AsyncClient) -> None:
    response = await client.post(f"{SITE_PATH}/stop")
    assert error_of(response) == (400, "MissingApiVersionParameter")
    response = await client.get(SITE_PATH, params={"api-version": "latest"})
    assert error_of(response) == (400, "InvalidApiVersionParameter")


async def test_management_knows_one_site_and_four_calls(client: httpx.AsyncClient) -> None:
    other = await client.post(f"{SITE_PATH}-2/stop", params=VERSION)
    assert error_of(other) == (404, "ResourceNotFound")
    for method, path in (("POST", "/restart"), ("GET", "/stop"), ("POST", "")):
        response = await client.request(method, SITE_PATH + path, params=VERSION)
        assert error_of(response) == (405, "MethodNotAllowed")
    lower = SITE_PATH.replace("Microsoft.Web", "microsoft.web")
    assert (await client.get(lower, params=VERSION)).status_code == 200


async def test_health(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
