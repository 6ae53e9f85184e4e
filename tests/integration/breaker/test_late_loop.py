"""A late event loop is not taken for a silent Redis."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

import pytest
from redis.asyncio import Redis, RedisCluster

from breaker import BreakerSettings, CircuitBreaker, RedisCircuitStore, StoreUnavailableError
from breaker.stores.redis import Client, connect, patience
from breaker.stores.redis.patience import LATE_SECONDS, PatientTimeout
from breaker.stores.redis.runner import ScriptRunner
from tests.support.jumping_loop import JumpingLoop, run_simulated
from tests.support.silent_server import SilentServer

TIMEOUT = 0.1
LONG = 20_000_000
"""Bytes of a command; the buffers of two sockets hold fewer."""
SETTINGS = BreakerSettings(name="c", store_timeout_seconds=TIMEOUT)


async def block() -> None:
    """Block the event loop for longer than the timeouts, while requests are under way."""
    time.sleep(3 * TIMEOUT)  # noqa: ASYNC251 - as a handler that blocks


async def connections(client: Client) -> int:
    info = await client.info("stats")
    return int(info["total_connections_received"])


async def test_script_waits_for_its_answer_over_a_blocked_loop(redis_url: str) -> None:
    """Each of the store's requests gets its whole timeout on a loop that runs."""
    async with CircuitBreaker(RedisCircuitStore(redis_url, "c", timeout_seconds=TIMEOUT), SETTINGS):
        store = RedisCircuitStore(redis_url, "c", timeout_seconds=TIMEOUT)
        rules = SETTINGS.rules("here:1")
        await store.snapshot(rules)
        await asyncio.gather(store.snapshot(rules), store.history(5), block())
        await store.aclose()


async def test_blocked_loop_begins_no_outage(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The circuit stays closed and known, and the log does not ask whether Redis runs."""
    settings = replace(SETTINGS, poll_seconds=0.1)
    store = RedisCircuitStore(redis_url, "c", timeout_seconds=TIMEOUT)
    with caplog.at_level(logging.WARNING):
        async with CircuitBreaker(store, settings) as breaker:
            for _ in range(2):
                await asyncio.gather(breaker.refresh(), block())  # the poll's request is under way
                assert not breaker.circuit.degraded
    assert "Redis" not in caplog.text


async def test_command_of_a_client_waits_for_its_answer(redis_url: str) -> None:
    """A client that gives up an answer opens another connection for its retry."""
    client = connect(redis_url, SETTINGS)
    try:
        before = await connections(client)
        await asyncio.gather(client.get("a"), block())
        assert await connections(client) == before
    finally:
        await client.aclose()


async def test_new_connection_waits_over_a_blocked_loop(redis_url: str) -> None:
    """The connection of a new client is made once."""
    other, client = connect(redis_url, SETTINGS), connect(redis_url, SETTINGS)
    try:
        before = await connections(other)
        asking = asyncio.ensure_future(client.ping())
        await asyncio.sleep(0)
        await block()
        assert await asking
        assert await connections(other) == before + 1
    finally:
        await client.aclose()
        await other.aclose()


async def test_long_command_is_sent_over_a_blocked_loop(redis_url: str) -> None:
    """Sending waits while the socket's buffer is full."""
    client = connect(redis_url, SETTINGS)
    assert isinstance(client, Redis)
    try:
        connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        # CPython before 3.13.1 does not pause itself when it writes parts.
        protocol = connection._writer.transport.get_protocol()
        protocol.pause_writing()
        sending = asyncio.ensure_future(connection.send_command("PING"))
        await asyncio.sleep(0)
        await block()
        await asyncio.sleep(0)
        protocol.resume_writing()
        await sending
        assert await connection.read_response() == b"PONG"
        await client.connection_pool.release(connection)
    finally:
        await client.aclose()


async def test_connection_that_closes_over_a_blocked_loop_is_no_outage(redis_url: str) -> None:
    """A connection is closed when it comes back to the pool, if the others were dropped before."""
    client = connect(redis_url, SETTINGS)
    assert isinstance(client, Redis)
    try:
        connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        connection.mark_for_reconnect()
        await asyncio.gather(client.connection_pool.release(connection), block())
        assert not connection.is_connected
    finally:
        await client.aclose()


async def test_connection_that_does_not_close_is_aborted() -> None:
    """The server reads nothing, so the rest of a command could wait for years."""
    closed = asyncio.Event()
    received: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closed.wait()
        count = len(await reader.read())
        writer.close()
        received.set_result(count)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        client = connect(f"redis://127.0.0.1:{port}/0", SETTINGS)
        assert isinstance(client, Redis)
        connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        await connection._connect()
        connection._writer.write(b"x" * LONG)
        await connection.disconnect()
        closed.set()
        assert await received < LONG
        await client.aclose()
    finally:
        server.close()  # does not wait for a connection that stays open


async def test_command_of_a_cluster_waits_for_its_answer(redis_cluster: str) -> None:
    """The connections of a cluster's client have the same timeouts."""
    client = connect(redis_cluster, replace(SETTINGS, redis_cluster=True))
    assert isinstance(client, RedisCluster)
    try:
        await client.get("a")
        node = client.get_node_from_key("a")
        assert node is not None
        before = await client.info("stats", target_nodes=node)
        await asyncio.gather(client.get("a"), block())
        after = await client.info("stats", target_nodes=node)
        assert after["total_connections_received"] == before["total_connections_received"]
    finally:
        await client.aclose()


async def test_silent_redis_is_noticed_on_a_loop_that_runs() -> None:
    """Patience does not hide an outage."""
    async with SilentServer().running() as url:
        client = connect(url, SETTINGS)
        runner = ScriptRunner(client, "c", TIMEOUT)
        with pytest.raises(StoreUnavailableError):
            await runner.ask(client.ping())
        await client.aclose()


def test_late_timeout_gives_back_the_time_of_the_lateness() -> None:
    """A machine that is a little late all the time does not multiply the timeout."""

    async def wait() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        late = 2 * LATE_SECONDS
        # Runs before the timeout's timer, in the same turn of the loop.
        loop.call_at(10.0, setattr, loop, "_now", 10.0 + late)
        with pytest.raises(TimeoutError):
            async with PatientTimeout(10.0):
                await asyncio.Event().wait()
        return loop.time()

    assert run_simulated(wait()) == pytest.approx(10.0 + 4 * LATE_SECONDS)


async def test_loop_that_is_always_late_does_not_hide_a_silent_redis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A handler that blocks the loop again and again would keep every command waiting forever."""
    monkeypatch.setattr(patience, "MOST_STARTS", 2)

    async def block_again_and_again() -> None:
        while True:
            time.sleep(2 * LATE_SECONDS)  # noqa: ASYNC251 - the test's subject
            await asyncio.sleep(0)

    blocking = asyncio.create_task(block_again_and_again())
    try:
        with pytest.raises(TimeoutError):
            async with PatientTimeout(0.001):
                await asyncio.Event().wait()
    finally:
        blocking.cancel()
