"""Limits for clients that send too much, too little, or invalid data."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from console import server
from tests.support.console.server import (
    BEARER,
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
