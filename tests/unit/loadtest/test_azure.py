"""`--target azure` finds the endpoints and requests tokens for its identity."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.core.exceptions import AzureError
from azure.storage.queue.aio import QueueClient

from loadtest.arguments import parse
from loadtest.errors import UsageError
from loadtest.plan.settings import AppLimits, Settings, Target
from loadtest.send.producer_client import event_hub_producer
from loadtest.target.azure import PREFIX, REQUIRED, read_azure_endpoints
from loadtest.target.clients import (
    blob_container,
    blob_service,
    management_headers,
    poison_queue,
    redis_options,
)
from loadtest.target.endpoints import Endpoints

ROOT = Path(__file__).parents[3]
VALUES = {
    "REDIS_URL": "rediss://redis.example:10000/0",
    "EVENT_HUB": "events",
    "EVENT_HUB_NAMESPACE": "hub.example",
    "CONSUMER_GROUP": "app",
    "POISON_QUEUE": "poison",
    # Nothing listens on port 1; the client requests a token before it connects.
    "STORAGE_QUEUE_URI": "https://127.0.0.1:1/account",
    "STORAGE_BLOB_URI": "https://127.0.0.1:1/account",
    "FUNCTION_APP_ID": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/app",
    "TOPIC_ENDPOINT": "https://topic.example/api/events",
}
CONNECTION = "Endpoint=sb://hub.example/;SharedAccessKeyName=k;SharedAccessKey=a2V5"

EXPIRES = 4_102_444_800


def part(document: dict[str, object]) -> str:
    """Return one part of a token."""
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


TOKEN = f"{part({'alg': 'none'})}.{part({'oid': 'who', 'iat': 1_700_000_000, 'exp': EXPIRES})}."


def endpoints(directory: Path, **changes: str) -> Endpoints:
    """Return the endpoints of a file as `azd env get-values` writes it."""
    file = directory / "azure.env"
    values = {name: value for name, value in (VALUES | changes).items() if value}
    file.write_text(
        'AZURE_LOCATION="northeurope"\n'
        + "".join(f'{PREFIX}{name}="{value}"\n' for name, value in values.items())
    )
    return read_azure_endpoints(file)


@pytest.fixture
def token_requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield the resources of token requests, received by a stand-in for Azure's endpoint."""
    resources: list[str] = []

    class Identity(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            [resource] = parse_qs(urlsplit(self.path).query)["resource"]
            resources.append(resource)
            token = {"access_token": TOKEN, "expires_on": str(EXPIRES), "resource": resource}
            body = json.dumps(token | {"token_type": "Bearer"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Identity) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.server_port}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "secret")
        for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"):
            monkeypatch.delenv(name, raising=False)
        yield resources
        server.shutdown()


async def test_storage_by_identity(tmp_path: Path, token_requests: list[str]) -> None:
    """Queue and blob clients request a token for storage."""
    where = endpoints(tmp_path)
    async with AsyncExitStack() as opened:
        queue = await poison_queue(where, opened, retry_total=0)
        with pytest.raises(AzureError):
            await queue.get_queue_properties()
        assert token_requests == ["https://storage.azure.com"]
        blobs = await blob_container(where, "checkpoints", opened)
        with pytest.raises(AzureError):
            await blobs.get_container_properties(timeout=1, retry_total=0)
    assert token_requests == ["https://storage.azure.com"] * 2


@pytest.mark.parametrize("form", ["URI", "CONNECTION"])
async def test_checkpoints_are_in_the_hosts_account(tmp_path: Path, form: str) -> None:
    """Claim checks are in the app's account; a file of one account names no other."""
    one, two = ("https://one.example", "https://two.example")
    if form == "CONNECTION":
        one, two = (
            f"BlobEndpoint={each};QueueEndpoint={each};SharedAccessSignature=sig=x"
            for each in (one, two)
        )
    blob = "STORAGE_BLOB_URI" if form == "URI" else "STORAGE_CONNECTION"
    for changes, account in (({}, "one"), ({f"HOST_{blob}": two}, "two")):
        where = endpoints(tmp_path, **{blob: one}, **changes)
        async with AsyncExitStack() as opened:
            claims = await blob_service(where, opened)
            assert claims.primary_hostname == "one.example"
            checkpoints = await blob_container(where, "checkpoints", opened)
            assert checkpoints.primary_hostname == f"{account}.example"


async def test_management_by_identity(tmp_path: Path, token_requests: list[str]) -> None:
    """Azure Resource Manager receives a token."""
    async with AsyncExitStack() as opened:
        headers = await management_headers(endpoints(tmp_path), opened)
    assert token_requests == ["https://management.azure.com"]
    assert headers == {"Authorization": f"Bearer {TOKEN}"}


def test_redis_by_identity(tmp_path: Path, token_requests: list[str]) -> None:
    """The Redis user and password are the identity's object id and token."""
    provider = redis_options(endpoints(tmp_path))["credential_provider"]
    assert provider.get_credentials() == ("who", TOKEN)
    assert token_requests == ["https://redis.azure.com"]


def test_event_hubs_by_identity(tmp_path: Path, token_requests: list[str]) -> None:
    """The producer's client has a credential for Event Hubs."""
    where = endpoints(tmp_path)
    client = event_hub_producer("", where.event_hub_namespace, where.event_hub_name)
    with client:
        client._credential.get_token("https://eventhubs.azure.net//.default")
    assert client.eventhub_name == "events"
    assert token_requests == ["https://eventhubs.azure.net/"]


async def test_connection_strings_need_no_token(tmp_path: Path, token_requests: list[str]) -> None:
    """Clients with a connection string request no token."""
    storage = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5"
    where = endpoints(tmp_path, EVENT_HUB_CONNECTION=CONNECTION, STORAGE_CONNECTION=storage)
    async with AsyncExitStack() as opened:
        queue = await poison_queue(where, opened)
        assert isinstance(queue, QueueClient)
        assert queue.url.startswith("https://a.queue.core.windows.net/poison")
    with event_hub_producer(where.event_hub_connection, "", "events") as client:
        assert client._address.hostname == "hub.example"
    assert redis_options(endpoints(tmp_path, REDIS_URL="rediss://u:p@redis.example/0")).keys() == {
        "maint_notifications_config"
    }
    assert token_requests == []


def test_breaker_approve_gets_the_deployed_settings(tmp_path: Path) -> None:
    """The command `breaker approve` connects to the same circuit, by identity."""
    settings = endpoints(tmp_path).app_settings()
    assert settings["BREAKER_REDIS_AUTH"] == "entra"
    assert settings["REDIS_URL"] == VALUES["REDIS_URL"]
    assert AppLimits.from_values(settings).failure_threshold == 100


def test_incomplete_file_is_an_error_that_says_how_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"does not exist; write it with `azd env get-values > "):
        read_azure_endpoints(tmp_path / "none")
    with pytest.raises(UsageError, match="lacks BREAKWATER_REDIS_URL, BREAKWATER_STORAGE_QUEUE"):
        endpoints(tmp_path, REDIS_URL="", STORAGE_QUEUE_URI="")


def test_bicep_has_every_output_that_the_load_test_needs() -> None:
    outputs = re.findall(r"^output (\w+) ", (ROOT / "infra/main.bicep").read_text(), re.MULTILINE)
    assert {PREFIX + name for name in (*REQUIRED, *VALUES)} <= set(outputs)


def test_azure_target_accepts_no_options_of_a_local_stack() -> None:
    """The settings on Azure are deployed, and the instances cannot be killed."""
    settings = parse(["run", "--target", "azure", "--scenario", "steady"])
    assert isinstance(settings, Settings)
    assert settings.target is Target.AZURE
    assert settings.endpoints_file == Path("out/azure.env")
    for option in ("--instances 2", "--set A=B", "--kill-after 5", "--scenario chaos"):
        with pytest.raises(UsageError, match="only accepted with --target local"):
            parse(["run", "--target", "azure", *option.split()])
