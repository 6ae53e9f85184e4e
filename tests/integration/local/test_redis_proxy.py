"""The switching proxy in front of a primary and its replica."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import httpx
import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NoConnectionError
from redis.exceptions import ReadOnlyError

from local.redis_proxy.control import control_app
from local.redis_proxy.proxy import SwitchingProxy
from tests.support.patience import HANG_SECONDS
from tests.support.redis_pair import Pair, proxied, running_pair


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running_pair(tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@pytest.fixture
async def proxy(pair: Pair) -> AsyncIterator[SwitchingProxy]:
    async with proxied(pair) as (proxy, _):
        yield proxy


@pytest.fixture
async def client(proxy: SwitchingProxy) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis(
        port=proxy.port,
        socket_timeout=HANG_SECONDS,
        single_connection_client=True,
        retry=Retry(NoBackoff(), 0),
    )
    async with client:
        await client.ping()
        yield client


def new_client(proxy: SwitchingProxy) -> redis.asyncio.Redis:
    return redis.asyncio.Redis(port=proxy.port, socket_timeout=HANG_SECONDS)


async def test_open_connection_stays_at_the_old_primary_which_refuses_writes(
    pair: Pair, proxy: SwitchingProxy, client: redis.asyncio.Redis
) -> None:
    await client.set("before", 1)
    proxy.switch(await asyncio.to_thread(pair.fail_over))
    with pytest.raises(ReadOnlyError):
        await client.set("after", 1)
    assert await client.get("before") == b"1", "the old primary is a replica, and still reads"
    async with new_client(proxy) as other:
        assert await other.set("after", 1)
        assert await other.get("before") == b"1", "the new primary has the old one's data"


async def test_muted_connection_is_neither_answered_nor_closed(
    proxy: SwitchingProxy, client: redis.asyncio.Redis
) -> None:
    assert proxy.mute() == 1
    asking = asyncio.ensure_future(client.set("lost", 1))
    async with new_client(proxy) as other:
        assert await other.set("kept", 1), "a new connection is answered"
        assert await other.get("lost") is None, "what a muted client sends reaches nobody"
    assert not asking.done()
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking


async def test_muted_client_does_not_learn_that_its_server_is_gone(
    pair: Pair, proxy: SwitchingProxy
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"CLIENT ID\r\n")
    number = (await reader.readline()).decode().strip().removeprefix(":")
    proxy.mute()
    with pair.client(pair.primary) as direct:
        direct.client_kill_filter(_id=number)
    reading = asyncio.create_task(reader.read())
    async with new_client(proxy) as other:
        await other.ping()
    assert not reading.done()
    assert proxy.cut() >= 1
    with pytest.raises(ConnectionResetError):
        await reading
    writer.close()


async def test_new_connections_are_muted_too_on_request(proxy: SwitchingProxy) -> None:
    proxy.mutes_new = True
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"PING\r\n")
    async with asyncio.timeout(HANG_SECONDS):
        while not proxy.connections:
            await asyncio.sleep(0)
    proxy.mutes_new = False
    answer = asyncio.create_task(reader.readline())
    async with new_client(proxy) as other:
        assert await other.ping()
    assert not answer.done()
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await answer
    writer.close()


async def test_cut_connection_fails_at_once(
    proxy: SwitchingProxy, client: redis.asyncio.Redis
) -> None:
    assert proxy.cut() == 1
    with pytest.raises((NoConnectionError, OSError)):
        await client.ping()
    async with asyncio.timeout(HANG_SECONDS):
        while proxy.connections:
            await asyncio.sleep(0)


async def test_connection_to_a_server_that_does_not_listen_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    async with SwitchingProxy([port]) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def test_large_answer_is_passed_on_whole(
    proxy: SwitchingProxy, client: redis.asyncio.Redis
) -> None:
    value = b"x" * 5_000_000
    await client.set("large", value)
    assert await client.get("large") == value
    await client.delete("large")


async def test_control_port_switches_mutes_and_cuts(
    proxy: SwitchingProxy, client: redis.asyncio.Redis
) -> None:
    before = proxy.target
    transport = httpx.ASGITransport(control_app(proxy))
    async with httpx.AsyncClient(transport=transport, base_url="http://proxy") as control:
        assert (await control.get("/healthz")).json() == {"status": "ok"}
        assert (await control.post("/switch", json={"to": 1 - before})).json() == {
            "target": 1 - before
        }
        assert (await control.post("/mute", json={"new": True})).json() == {"muted": 1}
        assert _mutes_new(proxy)
        assert (await control.post("/mute")).json() == {"muted": 0}
        assert not _mutes_new(proxy)
        assert (await control.post("/cut")).json() == {"cut": 1}
        for path, body, text in (
            ("/switch", "{}", "to must be the number of a server, counted from 0, not None"),
            ("/switch", '{"to": 2}', "there is no server 2; the proxy has 2, counted from 0"),
            ("/mute", '{"new": 1}', "new must be true or false, not 1"),
            ("/mute", "[]", "the body must be a JSON object, got []"),
            ("/mute", "{", "the body is not JSON"),
            ("/mute", " " * 20_000, "the body must be at most 10000 bytes"),
        ):
            answer = await control.post(path, content=body)
            assert (answer.status_code, answer.json()["error"]["message"]) == (400, text)


def _mutes_new(proxy: SwitchingProxy) -> bool:
    return proxy.mutes_new
