"""Clients that do not read: they are disconnected and occupy no resources."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.uri import parse_uri

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from console import server
from console.app import create_app
from console.backplane.coordination import MemoryCoordination
from console.backplane.stream import MemoryBackplane
from console.live import websocket as live
from console.settings import ConsoleSettings
from tests.support.console.server import BEARER, TOKEN, Served, serving
from tests.support.patience import HANG_SECONDS

ENOUGH = 30_000_000
"""Bytes; far more than the kernel buffers of both sides hold."""
RESUME = '{"type":"resume","cursor":null}'


@asynccontextmanager
async def console(**settings: Any) -> AsyncIterator[tuple[Served, MemoryBackplane]]:
    coordination = MemoryCoordination()
    backplane = MemoryBackplane(coordination)
    own = ConsoleSettings(token=TOKEN, **settings)
    breaker = CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))
    app = create_app(breaker, own, coordination=coordination, backplane=backplane)
    async with serving(app, own) as served:
        yield served, backplane


class NonReadingClient:
    """A WebSocket client that sends and never reads, with the smallest receive buffer."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self.socket.connect((host, int(port)))
        self.socket.setblocking(False)
        self.protocol = ClientProtocol(parse_uri(f"ws://{host}:{port}/live"))
        request = self.protocol.connect()
        request.headers.update(headers)
        self.protocol.send_request(request)

    async def begin(self) -> None:
        """Complete the handshake, then read no more."""
        loop = asyncio.get_running_loop()
        await self.flush()
        data = b""
        while b"\r\n\r\n" not in data:
            data += await loop.sock_recv(self.socket, 1)
        self.protocol.receive_data(data)

    async def flush(self) -> None:
        loop = asyncio.get_running_loop()
        for data in self.protocol.data_to_send():
            await loop.sock_sendall(self.socket, data)

    async def say(self, text: str) -> None:
        self.protocol.send_text(text.encode())
        await self.flush()


async def test_browser_that_does_not_read_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its place becomes free although its full buffers prevent a close."""
    async with console(sockets_max=1) as (served, backplane):
        deaf = NonReadingClient(served.url, BEARER)
        await deaf.begin()
        await deaf.say(RESUME)
        with (
            contextlib.closing(deaf.socket),
            pytest.raises(ConnectionError),
            monkeypatch.context() as patch,
        ):
            patch.setattr(live, "SEND_SECONDS", 0.3)
            async with asyncio.timeout(HANG_SECONDS):
                while True:
                    await backplane.publish([("tail", {"text": "x" * 1_000_000})])
                    await deaf.say('{"type":"tail","on":true}')
                    await asyncio.sleep(0.02)
        browser = await served.browser()
        async with asyncio.timeout(HANG_SECONDS):
            while True:
                # The console refuses until the other browser's place is free; the page retries.
                with contextlib.suppress(ConnectionClosed):
                    async with browser.live() as again:
                        await again.send(RESUME)
                        if '"snapshot"' in str(await again.recv()):
                            break


@pytest.mark.parametrize("headers", [{}, BEARER])
async def test_pings_of_a_client_that_does_not_read_are_not_read(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    """The console answers each ping, so it stops reading when the answers are not read."""
    monkeypatch.setattr(server, "CLOSE_SECONDS", 1.0)
    monkeypatch.setattr(live, "SEND_SECONDS", 1.0)
    async with console() as (served, _):
        deaf = NonReadingClient(served.url, headers)
        await deaf.begin()
        if headers:
            await deaf.say(RESUME)
        sent = 0
        with contextlib.closing(deaf.socket), contextlib.suppress(ConnectionError):
            async with asyncio.timeout(HANG_SECONDS):
                while sent < ENOUGH:
                    for _ in range(500):
                        deaf.protocol.send_ping(b"x" * 125)
                    sent += 500 * 131
                    await deaf.flush()
        assert sent < ENOUGH


async def test_client_that_reads_no_response_is_disconnected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client sends requests without a pause and reads no response."""
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.3)
    async with console() as (served, _):
        deaf = NonReadingClient(served.url, {})
        loop = asyncio.get_running_loop()
        bearer = f"Authorization: {BEARER['Authorization']}\r\n"
        request = f"GET /static/index.html HTTP/1.1\r\nHost: x\r\n{bearer}\r\n".encode()
        with pytest.raises(ConnectionError), contextlib.closing(deaf.socket):
            async with asyncio.timeout(HANG_SECONDS):
                while True:
                    await loop.sock_sendall(deaf.socket, request * 100)
