"""What the console takes from those who send too much, too little, or nonsense."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from console import server
from tests.support.console.server import BEARER, Served, closed_with, hear, resume, serving_memory
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


async def test_bad_frames_end_the_connection(console: Served) -> None:
    """With a code that says so, and nothing in the server's log that looks like a fault."""
    browser = await console.browser()
    for frames, code in FRAMES:
        async with browser.live() as live:
            for frame in frames:
                await live.send(frame)
            assert await closed_with(live) == code


async def test_connections_are_bounded(console: Served) -> None:
    """What an instance does not take goes to another, by the page's next attempt."""
    browser = await console.browser()
    async with browser.live() as one, browser.live() as two, browser.live() as three:
        for live in (one, two, three):
            await resume(live)
            await hear(live, "snapshot")
        async with browser.live() as more:
            assert await closed_with(more) == 4429
    async with browser.live() as again:
        await resume(again)
        await hear(again, "snapshot")


async def test_a_thousand_idle_sockets_change_nothing(
    console: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who say nothing, or half a request, are dropped; an operator is served meanwhile."""
    caplog.set_level(logging.ERROR)
    # Still more than the operator's own requests take to come, beside a thousand others'.
    monkeypatch.setattr(server, "REQUEST_SECONDS", 2.0)
    browser = await console.browser()
    port = int(console.url.rpartition(":")[2])
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(1_000)]
    for _, writer in idle[::2]:
        writer.write(b"GET /live HTTP/1.1\r\nHost: x\r\nUpgrade: web")
    async with browser.live() as live:
        await resume(live)
        assert (await hear(live, "snapshot"))["type"] == "snapshot"
        answer = await browser.client.post("/api/log", json={"text": "here"}, headers=browser.act)
        assert answer.status_code == 201
        async with asyncio.timeout(HANG_SECONDS):
            ended = [await _rest(reader) for reader, _ in idle]
        assert set(ended) == {b""}
        await hear(live, "beat")  # the operator's own connection is another matter
    for _, writer in idle:
        writer.close()
    assert not caplog.records


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the other side hangs up, however it does."""
    try:
        return await reader.read()
    except ConnectionResetError:  # it had hung up before the half request was sent
        return b""


async def test_a_body_that_never_comes_is_not_waited_for(
    console: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one that is too large."""
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
