"""Limits for clients that send too much, too little, or invalid data."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from uvicorn.server import ServerState
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

from console import server
from console.settings import ConsoleSettings
from tests.support.console.server import (
    BEARER,
    TOKEN,
    Served,
    close_code,
    next_message,
    resume,
    serving_memory,
)
from tests.support.patience import HANG_SECONDS


@pytest.fixture
async def console() -> AsyncIterator[Served]:
    async with serving_memory(sockets_max=3) as served:
        yield served


FRAMES: list[tuple[list[str | bytes], int]] = [
    ([""], 4400),
    (["[1]"], 4400),
    (["[" * 4_000], 4400),
    (['{"type":"resume","cursor":5}'], 4400),
    (['{"type":"tail","on":true}'], 4400),
    ([b'{"type":"resume","cursor":null}'], 4400),
    (['{"type":"resume","cursor":null}', '{"type":"shout"}'], 4400),
    (["x" * 5_000], 1009),
    (['{"type":"resume","cursor":"' + "9" * 4_200 + '"}'], 1009),
]


async def test_invalid_frame_closes_the_connection(console: Served) -> None:
    """The close code names the reason."""
    browser = await console.browser()
    for frames, code in FRAMES:
        async with browser.live() as live:
            for frame in frames:
                await live.send(frame)
            assert await close_code(live) == code


async def test_connections_are_bounded(console: Served) -> None:
    """The page's next attempt may reach another instance."""
    browser = await console.browser()
    async with browser.live() as one, browser.live() as two, browser.live() as three:
        for live in (one, two, three):
            await resume(live)
            await next_message(live, "snapshot")
        async with browser.live() as more:
            assert await close_code(more) == 4429
    async with browser.live() as again:
        await resume(again)
        await next_message(again, "snapshot")


async def test_a_thousand_idle_sockets_do_not_block_an_operator(
    console: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that send nothing or half a request are disconnected, without errors in the log."""
    caplog.set_level(logging.ERROR)
    # Long enough for the operator's own requests among a thousand other connections.
    monkeypatch.setattr(server, "REQUEST_SECONDS", 2.0)
    browser = await console.browser()
    port = int(console.url.rpartition(":")[2])
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(1_000)]
    for _, writer in idle[::2]:
        writer.write(b"GET /live HTTP/1.1\r\nHost: x\r\nUpgrade: web")
    async with browser.live() as live:
        await resume(live)
        assert (await next_message(live, "snapshot"))["type"] == "snapshot"
        answer = await browser.client.post("/api/log", json={"text": "here"}, headers=browser.act)
        assert answer.status_code == 201
        async with asyncio.timeout(HANG_SECONDS):
            ended = [await _rest(reader) for reader, _ in idle]
        assert set(ended) == {b""}
        await next_message(live, "beat")  # the operator's connection stays open
    for _, writer in idle:
        writer.close()
    assert not caplog.records


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """Return the data until the server closes or resets the connection."""
    try:
        return await reader.read()
    except ConnectionResetError:  # closed before the half request was sent
        return b""


REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class Kept:
    """A connection that a proxy keeps for its next request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self) -> bytes:
        """Send a request; return the status line, or b"" if the connection was closed."""
        self.send(REQUEST)
        return await self.answer()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def answer(self) -> bytes:
        async with asyncio.timeout(HANG_SECONDS):
            try:
                head = await self._reader.readuntil(b"\r\n\r\n")
                if length := re.search(rb"content-length: (\d+)", head):
                    await self._reader.readexactly(int(length[1]))
            except (asyncio.IncompleteReadError, ConnectionError):
                return b""
            return head.partition(b"\r\n")[0]

    async def aclose(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@asynccontextmanager
async def kept(port: int) -> AsyncIterator[Kept]:
    connection = Kept(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield connection
    finally:
        await connection.aclose()


@asynccontextmanager
async def observed() -> AsyncIterator[tuple[int, list[server.RequestTimeoutProtocol]]]:
    """Yield the port of the console's protocols, which answer 404, and the protocols."""
    loop = asyncio.get_running_loop()
    config = server.configure(Starlette(), ConsoleSettings(token=TOKEN))
    config.load()
    made: list[server.RequestTimeoutProtocol] = []
    state = ServerState()

    def accept() -> server.RequestTimeoutProtocol:
        made.append(server.RequestTimeoutProtocol(config, state, {}, loop))
        return made[-1]

    async with await loop.create_server(accept, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1], made


async def _received(protocol: server.RequestTimeoutProtocol) -> None:
    """Wait for the beginning of a request."""
    async with asyncio.timeout(HANG_SECONDS):
        while not protocol.conn.trailing_data[0]:
            await asyncio.sleep(0)


async def test_idle_connection_of_a_proxy_stays_open() -> None:
    """However often the console looks, it awaits nothing of an idle connection."""
    async with observed() as (port, made), kept(port) as proxy:
        assert b"404" in await proxy.ask()
        for _ in range(3):
            made[0].look()
        assert b"404" in await proxy.ask()


async def test_half_of_the_next_request_is_not_awaited_forever() -> None:
    """The first bytes of a request get their own time, and no more than that."""
    async with observed() as (port, made), kept(port) as proxy, kept(port) as slow:
        assert b"404" in await proxy.ask()
        assert b"404" in await slow.ask()
        for each, protocol in ((proxy, made[0]), (slow, made[1])):
            protocol.look()
            each.send(REQUEST[:20])
            await _received(protocol)
            protocol.look()
        proxy.send(REQUEST[20:])
        assert b"404" in await proxy.answer()
        made[1].look()
        assert await slow.answer() == b""


async def test_longest_idle_connection_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_MOST", 2)
    async with observed() as (port, _), kept(port) as one, kept(port) as two, kept(port) as three:
        for each in (one, two, one, three):
            assert b"404" in await each.ask()
        assert await two.ask() == b""
        for each in (three, one, three, one):
            assert b"404" in await each.ask()


def test_proxy_closes_idle_connections_first() -> None:
    """A proxy that sends on a connection that the console closes answers with a stray 503.

    Envoy keeps idle connections for 3,600 s, and Azure ends silent WebSockets after 240 s.
    """
    settings = ConsoleSettings(token=TOKEN)
    config = server.configure(Starlette(), settings)
    assert config.timeout_keep_alive > 3_600 + 60
    assert config.ws_ping_interval is not None
    assert config.ws_ping_interval < 240 / 2


async def test_silent_websocket_is_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that has not resumed gets no heartbeats, and still no silence."""
    pinged = asyncio.Event()

    class Browser(ClientConnection):
        def process_event(self, event: Event) -> None:
            if isinstance(event, Frame) and event.opcode is Opcode.PING:
                pinged.set()
            super().process_event(event)

    monkeypatch.setattr(server, "PING_SECONDS", 0.05)
    async with serving_memory() as quick:
        address = f"{quick.url.replace('http', 'ws')}/live"
        async with connect(address, additional_headers=BEARER, create_connection=Browser):
            async with asyncio.timeout(HANG_SECONDS):
                await pinged.wait()


async def test_missing_or_large_body_is_refused(
    console: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that does not arrive times out with 408; a large body gets 413."""
    host, port = console.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /api/log HTTP/1.1\r\nHost: x\r\nAuthorization: {BEARER['Authorization']}\r\n"
        "Content-Length: 50\r\n\r\n{".encode()
    )
    with monkeypatch.context() as patch:
        patch.setattr("console.web.requests.BODY_SECONDS", 0.05)
        assert b" 408 " in await reader.readline()
    writer.close()
    client = await console.api()
    answer = await client.post("/api/log", content=b"x" * 20_000)
    assert answer.status_code == 413
