"""Responses to unusual data and faults: never a bare 500, never a partial list."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from breaker.stores.redis import connect
from console.app import create_app
from console.backplane.coordination import MemoryCoordination
from console.backplane.redis_coordination import RedisCoordination
from console.backplane.redis_stream import RedisBackplane
from console.errors import CoordinationError
from console.poison.documents import full, summary
from console.settings import ConsoleSettings
from console.web.headers import HEADERS
from console.web.responses import ApiResponse
from processing.poison.error_detail import ErrorDetail
from tests.support.silent_server import SilentServer
from tests.unit.console.test_poison import message

TOKEN = "a-token-of-32-characters-for-test"
REAL = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "EventHubConnection": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=k",
    "EVENT_HUB_NAME": "h",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}


@asynccontextmanager
async def api_client(**app: Any) -> AsyncIterator[httpx.AsyncClient]:
    breaker = CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))
    made = create_app(breaker, ConsoleSettings(token=TOKEN), **app)
    transport = httpx.ASGITransport(made, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://console", headers=headers
    ) as client:
        yield client


def test_lone_surrogate_hides_no_event() -> None:
    """A handler's error may quote the event; JSON encodes a lone surrogate, UTF-8 cannot."""
    odd = message(key="k\ud800", error=ErrorDetail("builtins.ValueError", "no \ud800", "t\udfff"))
    found = json.loads(bytes(ApiResponse({"messages": [summary(odd), full(odd)]}).body))["messages"]
    assert [(each["key"], each["error"]["message"]) for each in found] == [
        ("k\ud800", "no \ud800")
    ] * 2


def test_nan_and_infinity_are_shown_as_text() -> None:
    """A property may be NaN, and a browser refuses a whole response with NaN."""
    odd = message(properties={"rate": float("nan"), "more": [{"least": float("-inf")}], "n": 1.5})
    shown = json.loads(bytes(ApiResponse(full(odd)).body))["properties"]
    assert json.loads(shown) == {"rate": "NaN", "more": [{"least": "-Infinity"}], "n": 1.5}


class BrokenCoordination:
    """Coordination that raises an unexpected error."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(f"secret in {name}")


async def test_unexpected_error_responds_500_with_its_type(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The response is JSON with all headers; only the log has the error's message."""
    async with api_client(coordination=BrokenCoordination()) as client:
        answer = await client.post("/login", json={"token": "x", "name": "ann"})
    assert answer.status_code == 500
    assert answer.json() == {
        "error": "the console failed with ZeroDivisionError; its log has the traceback"
    }
    assert all(answer.headers[name] == value for name, value in HEADERS.items())
    assert answer.headers["cache-control"] == "no-store"
    assert "POST /login failed" in caplog.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/parked", None),
        ("/api/poison", None),
        ("/api/log", {"text": "looking into it", "by": "ann"}),
        ("/api/redrive", {"all": True, "by": "ann"}),
    ],
)
async def test_silent_redis_is_asked_once_per_request(
    path: str, body: dict[str, Any] | None
) -> None:
    """The client would retry four times; the console's limit covers all retries together."""
    silent = SilentServer()
    async with silent.running() as url:
        client = connect(url, BreakerSettings(store_timeout_seconds=0.2))
        parts = {
            "app_settings": REAL | {"REDIS_URL": url, "BREAKER_STORE_TIMEOUT_SECONDS": "0.2"},
            "coordination": RedisCoordination(client, "c", timeout_seconds=0.2),
            "backplane": RedisBackplane(client, "c", timeout_seconds=0.2),
        }
        async with api_client(**parts) as browser:
            answer = await browser.request("POST" if body else "GET", path, json=body)
        await client.aclose()
    assert (answer.status_code, "no answer in time" in answer.text) == (503, True), answer.text
    assert silent.tries <= 2  # at the timeout a second attempt may have just begun


class UnavailableCoordination(MemoryCoordination):
    """Coordination whose calls time out."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def increment(self, name: str, seconds: int) -> int:
        self.asked.append("increment")
        raise CoordinationError("no answer in time")

    async def reset(self, name: str) -> None:
        self.asked.append("reset")
        raise CoordinationError("no answer in time")

    async def add(self, name: str, item: str, until: float) -> None:
        self.asked.append("add")
        raise CoordinationError("no answer in time")


async def test_login_waits_for_a_silent_redis_once() -> None:
    """Without a shared count the login does not reset the count.

    The browser's earlier session ends on this instance at once, and on the others later.
    """
    coordination = UnavailableCoordination()
    async with api_client(coordination=coordination) as browser:
        del browser.headers["Authorization"]
        for count in (1, 2):
            before = dict(browser.cookies)
            answer = await browser.post("/login", json={"token": TOKEN, "name": "ann"})
            assert answer.status_code == 204, answer.text
            assert coordination.asked == ["increment"] * count
        assert (await browser.get("/api/circuits/c/history")).status_code == 200
        browser.cookies.clear()
        browser.cookies.update(before)
        assert (await browser.get("/api/circuits/c/history")).status_code == 401


@pytest.mark.parametrize(
    "settings",
    [
        {},
        REAL | {"BREAKER_WINDOW_SECONDS": "no"},
        REAL | {"REDIS_URL": "http://nowhere"},
    ],
)
async def test_unusable_app_settings_respond_503(settings: dict[str, str]) -> None:
    """The response names the cause."""
    async with api_client(app_settings=settings) as client:
        answer = await client.get("/api/parked")
        assert (answer.status_code, "its log" in answer.text) == (503, False), answer.text
