"""The console served from this process on its own port, and clients of that console."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from console.app import create_app
from console.server import configure
from console.settings import ConsoleSettings
from tests.support.patience import HANG_SECONDS

TOKEN = "a-token-of-32-characters-for-test"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # pytest handles the signals


@dataclass
class Browser:
    """A logged-in page: its cookie, its CSRF token, its origin."""

    client: httpx.AsyncClient
    url: str
    csrf: str = ""

    @property
    def act(self) -> dict[str, str]:
        """Headers of an action."""
        return {"Origin": self.url, "X-CSRF-Token": self.csrf}

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())

    def live(self, **headers: str) -> connect:
        """Connect the page's WebSocket."""
        headers = {"Cookie": self.cookie, "Origin": self.url} | headers
        return connect(f"{self.url.replace('http', 'ws')}/live", additional_headers=headers)


@dataclass
class Served:
    """A running console."""

    url: str
    token: str = field(repr=False)
    clients: contextlib.AsyncExitStack = field(repr=False)

    async def api(self) -> httpx.AsyncClient:
        """Return a client with the bearer token."""
        return await self.clients.enter_async_context(
            httpx.AsyncClient(base_url=self.url, headers=BEARER)
        )

    async def browser(self, name: str = "ann") -> Browser:
        """Return the browser of an operator who has logged in."""
        client = await self.clients.enter_async_context(httpx.AsyncClient(base_url=self.url))
        answer = await client.post("/login", json={"token": TOKEN, "name": name})
        assert answer.status_code == 204, answer.text
        browser = Browser(client, self.url)
        browser.csrf = (await client.get("/api/session")).json()["csrf"]
        return browser


@asynccontextmanager
async def serving(app: Starlette, settings: ConsoleSettings) -> AsyncIterator[Served]:
    """Serve an app as `python -m console` does."""
    server = _Server(configure(app, settings))
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(HANG_SECONDS):
        while not server.started:
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with contextlib.AsyncExitStack() as clients:
            yield Served(f"http://127.0.0.1:{port}", settings.token, clients)
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def serving_memory(**settings: Any) -> AsyncIterator[Served]:
    """Serve a console that shares nothing with other instances."""
    breaker = CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))
    own = ConsoleSettings(**{"token": TOKEN, **settings})
    async with serving(create_app(breaker, own), own) as served:
        yield served


async def resume(live: ClientConnection, cursor: str | None = None) -> None:
    """Send a page's first message."""
    await live.send(json.dumps({"type": "resume", "cursor": cursor}))


async def next_message(live: ClientConnection, *kinds: str) -> dict[str, Any]:
    """Return the next message of these types."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            message: dict[str, Any] = json.loads(await live.recv())
            if message["type"] in kinds:
                return message


async def next_items(live: ClientConnection, kind: str, count: int) -> list[dict[str, Any]]:
    """Return the next backplane messages of a kind."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        items = (await next_message(live, "messages"))["items"]
        found += [item for item in items if item["kind"] == kind]
    return found


async def close_code(live: ClientConnection) -> int:
    """Return the code with which the console closes, ignoring earlier messages."""
    async with asyncio.timeout(HANG_SECONDS):
        try:
            while True:
                await live.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 0
