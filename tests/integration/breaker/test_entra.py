"""Logins to Redis with a token of App Service's managed identity endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import redis

from breaker import BreakerSettings, CircuitBreaker, RedisCircuitStore, StoreUnavailableError
from breaker.settings import RedisAuth
from breaker.stores.redis import connect
from processing.errors import StorageUnavailableError
from processing.operations import open_parking
from tests.support.patience import HANG_SECONDS, STORE_SECONDS

IDENTITY = "11111111-2222-3333-4444-555555555555"
SETTINGS = BreakerSettings(
    name="c",
    redis_auth=RedisAuth.ENTRA,
    redis_client_id="an-id",
    store_timeout_seconds=STORE_SECONDS,
)
SHORT_SECONDS = 0.1
"""Redis timeout of the tests in which a token takes longer."""


class Endpoint:
    """The server at IDENTITY_ENDPOINT, with a list of its requests.

    Attributes:
        answers: while cleared, requests are not answered.
        refuses: while true, the endpoint answers that the identity does not exist.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self.answers = threading.Event()
        self.answers.set()
        self.refuses = False

    def answer(self, path: str) -> tuple[int, dict[str, str]]:
        self.asked.append(parse_qs(urlsplit(path).query))
        self.answers.wait(HANG_SECONDS)
        if self.refuses:
            return 400, {"error": "invalid_request", "error_description": "no such identity"}
        until = int(time.time()) + 3600
        token = jwt.encode({"oid": IDENTITY, "exp": until}, "k" * 32, algorithm="HS256")
        return 200, {"access_token": token, "expires_on": str(until), "token_type": "Bearer"}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """Yield a managed identity endpoint, set in the environment as on Azure."""
    found = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, document = found.answer(self.path)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.server_port}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "a-secret")
        try:
            yield found
        finally:
            found.answers.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def admin(redis_url: str) -> Iterator[redis.Redis]:
    """Yield an admin client; the server has a user for the identity with any token."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        rules = {"keys": ["*"], "channels": ["*"], "commands": ["+@all"]}
        client.acl_setuser(IDENTITY, enabled=True, nopass=True, **rules)
        yield client
        client.acl_deluser(IDENTITY)


async def test_identity_logs_in_with_token(
    endpoint: Endpoint, admin: redis.Redis, redis_url: str
) -> None:
    """The user is the token's object id; one token for Redis is requested."""
    client = connect(redis_url, SETTINGS)
    assert await client.execute_command("ACL", "WHOAMI") in (IDENTITY, IDENTITY.encode())
    async with CircuitBreaker(
        RedisCircuitStore(client, "c", timeout_seconds=STORE_SECONDS), SETTINGS
    ) as breaker:
        assert await breaker.history() == []
        assert not breaker.circuit.degraded
    await client.aclose()
    [asked] = endpoint.asked
    assert asked["client_id"] == ["an-id"]
    assert asked["resource"][0].rstrip("/") == "https://redis.azure.com"


async def test_slow_token_is_not_a_redis_outage(
    endpoint: Endpoint, admin: redis.Redis, redis_url: str
) -> None:
    """A token may take longer than the Redis timeout, for example from the Azure CLI."""
    endpoint.answers.clear()
    client = connect(redis_url, SETTINGS)
    store = RedisCircuitStore(client, "c", timeout_seconds=SHORT_SECONDS)
    asking = asyncio.create_task(store.snapshot(SETTINGS.rules("here")))
    await wait_longer_than_redis_timeout(endpoint)
    assert not asking.done()
    store._runner._timeout = STORE_SECONDS  # the token is answered, so use the normal timeout
    endpoint.answers.set()
    assert (await asking).circuit.generation == 0
    await store.aclose()
    await client.aclose()


async def wait_longer_than_redis_timeout(endpoint: Endpoint) -> None:
    """Return once the token request is older than the Redis timeout."""
    async with asyncio.timeout(HANG_SECONDS):
        while not endpoint.asked:
            await asyncio.sleep(0.01)
    await asyncio.sleep(3 * SHORT_SECONDS)


async def test_parking_fetches_token_before_redis_timeout(
    endpoint: Endpoint, admin: redis.Redis, redis_url: str
) -> None:
    """Opening the parked lists waits for the token, also with a short Redis timeout."""
    settings = {
        "REDIS_URL": redis_url,
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "EventHubConnection": "Endpoint=sb://a.invalid;SharedAccessKeyName=a;SharedAccessKey=YQ==",
        "EVENT_HUB_NAME": "events",
        "BREAKER_REDIS_AUTH": "entra",
        "BREAKER_REDIS_CLIENT_ID": "an-id",
        "BREAKER_STORE_TIMEOUT_SECONDS": f"{SHORT_SECONDS}",
    }
    endpoint.answers.clear()
    async with AsyncExitStack() as opened:
        opening = asyncio.create_task(opened.enter_async_context(open_parking(settings)))
        await wait_longer_than_redis_timeout(endpoint)
        assert not opening.done()
        endpoint.answers.set()
        lists = await opening
        assert await retry_timeouts(lists.store.keys) == []
    assert len(endpoint.asked) == 1
    endpoint.refuses = True
    with pytest.raises(StoreUnavailableError, match="no token for Redis"):
        async with open_parking(settings):
            pass


async def retry_timeouts[T](ask: Callable[[], Awaitable[T]]) -> T:
    """Return the result of a request, with retries after timeouts of a busy machine."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            with contextlib.suppress(StorageUnavailableError):
                return await ask()


async def test_expired_token_is_renewed_without_outage(
    endpoint: Endpoint, admin: redis.Redis, redis_url: str
) -> None:
    """Redis closes all connections with the token; new connections log in again."""
    client = connect(redis_url, SETTINGS)
    async with CircuitBreaker(
        RedisCircuitStore(client, "c", timeout_seconds=STORE_SECONDS), SETTINGS
    ) as breaker:
        for number in range(5):
            admin.client_kill_filter(user=IDENTITY)
            assert len(await breaker.history()) == 2 * number
            isolated = await breaker.isolate("ann", str(number))
            closed = await breaker.close_circuit(isolated.generation, "ann")
            assert not closed.degraded
    await client.aclose()


async def test_missing_token_is_a_store_outage(
    endpoint: Endpoint, admin: redis.Redis, redis_url: str
) -> None:
    """Without a token the store does not answer; once Entra has a token, the store does."""
    endpoint.refuses = True
    store = RedisCircuitStore.from_settings(redis_url, SETTINGS)
    rules = SETTINGS.rules("here")
    with pytest.raises(StoreUnavailableError, match="no token for Redis"):
        await store.snapshot(rules)
    endpoint.refuses = False
    assert (await store.snapshot(rules)).circuit.generation == 0
    await store.aclose()
