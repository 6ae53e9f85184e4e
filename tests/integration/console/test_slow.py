"""Those who take nothing of what the console sends them: they are let go, and hold nothing."""

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
"""Bytes; far more than what the buffers of both sides' kernels take."""
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


class Deaf:
    """A WebSocket client that sends and never reads, over the smallest buffer there is."""

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
        """Shake hands, then read no more."""
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


async def test_a_browser_that_takes_nothing_holds_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its place is another's, though it never closes: its own buffers are full."""
    async with console(sockets_max=1) as (served, backplane):
        deaf = Deaf(served.url, BEARER)
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
                # Refused while the other one's place is not free yet: the page tries again.
                with contextlib.suppress(ConnectionClosed):
                    async with browser.live() as again:
                        await again.send(RESUME)
                        if '"snapshot"' in str(await again.recv()):
                            break


@pytest.mark.parametrize("headers", [{}, BEARER])
async def test_who_asks_and_does_not_listen_is_not_heard(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    """Each ping is answered: whoever reads no answer gets no further ping in, known or not."""
    monkeypatch.setattr(server, "CLOSE_SECONDS", 1.0)
    monkeypatch.setattr(live, "SEND_SECONDS", 1.0)
    async with console() as (served, _):
        deaf = Deaf(served.url, headers)
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


async def test_who_takes_no_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests as well: they follow each other without a pause, and nothing is read."""
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.3)
    async with console() as (served, _):
        deaf = Deaf(served.url, {})
        loop = asyncio.get_running_loop()
        bearer = f"Authorization: {BEARER['Authorization']}\r\n"
        request = f"GET /static/index.html HTTP/1.1\r\nHost: x\r\n{bearer}\r\n".encode()
        with pytest.raises(ConnectionError), contextlib.closing(deaf.socket):
            async with asyncio.timeout(HANG_SECONDS):
                while True:
                    await loop.sock_sendall(deaf.socket, request * 100)
