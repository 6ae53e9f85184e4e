"""More commands at once than a client has connections, on a real Redis and a real cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest
import redis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection

from breaker import BreakerSettings, RedisCircuitStore
from breaker.stores.redis import Client, connect
from breaker.stores.redis.runner import CONNECTIONS
from breaker.stores.redis.waiting import (
    NoFreeConnectionError,
    Places,
    WaitingPool,
    subscription_of,
)
from tests.support.patience import HANG_SECONDS, STORE_SECONDS

COMMANDS = 600
SETTINGS = BreakerSettings(name="c", store_timeout_seconds=STORE_SECONDS)
RULES = SETTINGS.rules("here:1")


@pytest.fixture(params=["redis", "cluster"])
async def client(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Client]:
    """Return a client with four connections."""
    url, settings = redis_url, SETTINGS
    if request.param == "cluster":
        url = request.getfixturevalue("redis_cluster")
        settings = BreakerSettings(redis_cluster=True, store_timeout_seconds=STORE_SECONDS)
    made = connect(f"{url}?max_connections=4", settings)
    yield made
    await made.aclose()


async def test_further_commands_wait(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """No command fails, and nothing is logged."""
    caplog.set_level(logging.INFO)
    await client.delete("{n}")
    await asyncio.gather(*(client.incr("{n}") for _ in range(COMMANDS)))
    assert int(await client.get("{n}") or 0) == COMMANDS
    assert not caplog.records


async def test_further_pipelines_wait(client: Client) -> None:
    """No pipeline fails, also among as many commands."""

    async def send() -> None:
        async with client.pipeline(transaction=False) as pipe:
            pipe.incr("{n}")
            pipe.incr("{n}")
            await pipe.execute()

    await client.delete("{n}")
    tasks = [send() for _ in range(COMMANDS)] + [client.incr("{n}") for _ in range(COMMANDS)]
    await asyncio.gather(*tasks)
    assert int(await client.get("{n}") or 0) == 3 * COMMANDS


async def test_circuit_does_not_see_an_outage(client: Client) -> None:
    """A circuit's calls wait behind the other commands of its client."""
    store = RedisCircuitStore(client, "c", timeout_seconds=STORE_SECONDS)
    others = [client.incr("{n}") for _ in range(COMMANDS)]
    calls = [store.snapshot(RULES) for _ in range(COMMANDS)]
    await asyncio.gather(*others, *calls)
    await store.aclose()


async def test_subscriptions_leave_commands_their_connections(client: Client) -> None:
    """Each circuit of a client keeps a subscription."""
    store = RedisCircuitStore(client, "c", timeout_seconds=STORE_SECONDS)
    await store.snapshot(RULES)  # a cluster's client learns the nodes
    subscriptions = [store.changes(RULES) for _ in range(8)]
    try:
        for subscription in subscriptions:
            assert await anext(subscription) is None
        await asyncio.gather(*(client.incr("{n}") for _ in range(COMMANDS)))
    finally:
        for subscription in subscriptions:
            await subscription.aclose()
        await store.aclose()


async def test_url_limits_the_connections(redis_url: str) -> None:
    """The option `max_connections` bounds the connections of commands."""
    async with connect(f"{redis_url}?max_connections=5&client_name=few", SETTINGS) as client:
        await asyncio.gather(*(client.incr("n") for _ in range(COMMANDS)))
        with redis.Redis.from_url(redis_url) as other:
            assert sum(each["name"] == "few" for each in other.client_list()) == 5


async def test_closed_client_has_closed_its_subscriptions(redis_url: str) -> None:
    """A subscription's connection is closed with the client."""
    client = connect(f"{redis_url}?client_name=gone", SETTINGS)
    subscription = subscription_of(client)
    await subscription.subscribe("news")
    await client.aclose()
    with redis.Redis.from_url(redis_url) as other:
        async with asyncio.timeout(HANG_SECONDS):
            while any(each["name"] == "gone" for each in other.client_list()):
                await asyncio.sleep(0.01)
    await subscription.aclose()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("server", ["redis_url", "redis_cluster"])
async def test_cancelled_task_closes_its_client(
    server: str, request: pytest.FixtureRequest
) -> None:
    """The cancellation may arrive at any step of the close."""
    url = request.getfixturevalue(server)
    settings = replace(SETTINGS, redis_cluster=server == "redis_cluster")
    clients = []  # the garbage collector would close them
    for steps in range(1, 6):
        client = connect(f"{url}?client_name=cancelled", settings)
        clients.append(client)
        await client.get("n")
        closing = asyncio.create_task(client.aclose())
        for _ in range(steps):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait({closing})
    with redis.Redis.from_url(url) as other:
        async with asyncio.timeout(HANG_SECONDS):
            while any(each["name"] == "cancelled" for each in other.client_list()):
                await asyncio.sleep(0.01)


async def test_waiting_ends_if_redis_answers_nothing(redis_url: str) -> None:
    """The error names the limit; afterwards the connections serve further commands."""
    settings = BreakerSettings(store_timeout_seconds=0.05)
    client = connect(f"{redis_url}?max_connections=4", settings)
    assert isinstance(client, Redis)
    pool = client.connection_pool
    held: list[AbstractConnection] = [await pool.get_connection() for _ in range(4)]  # type: ignore[no-untyped-call]
    with pytest.raises(NoFreeConnectionError, match="none of 4 commands in flight was answered"):
        await client.get("n")
    for connection in held:
        await pool.release(connection)
    settled = connect(f"{redis_url}?max_connections=4", SETTINGS)
    await asyncio.gather(*(settled.incr("n") for _ in range(COMMANDS)))
    await settled.aclose()
    await client.aclose()


async def test_cancelled_commands_return_their_connections(redis_url: str) -> None:
    """Commands may be cancelled while they wait, and while they run."""
    pool = WaitingPool.from_url(f"{redis_url}?max_connections=4", wait_seconds=STORE_SECONDS)
    async with Redis.from_pool(pool) as client:
        for steps in range(12):
            tasks = [asyncio.ensure_future(client.incr("n")) for _ in range(12)]
            for _ in range(steps):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
        assert pool._places._free == 4
        await asyncio.gather(*(client.incr("n") for _ in range(COMMANDS)))


async def test_refused_connections_return_their_places(unused_tcp_port: int) -> None:
    """Each command fails with Redis's own error as long as Redis is away."""
    client = connect(f"redis://127.0.0.1:{unused_tcp_port}?max_connections=4", SETTINGS)
    results = await asyncio.gather(*(client.get("n") for _ in range(12)), return_exceptions=True)
    assert {type(each) for each in results} == {redis.exceptions.ConnectionError}
    await client.aclose()


async def test_places_are_given_in_turn() -> None:
    """A cancelled caller passes its place on."""
    places, order = Places(1, STORE_SECONDS), []

    async def use(number: int) -> None:
        await places.take()
        order.append(number)
        await asyncio.sleep(0)
        places.give_back(answered=True)

    await places.take()
    tasks = [asyncio.create_task(use(number)) for number in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.sleep(0)
    places.give_back(answered=True)
    tasks[0].cancel()  # its place was given, but it has not run yet
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [2, 3]
    await places.take()


async def test_answers_prolong_the_waiting() -> None:
    """A long queue is no outage: each answer starts the timeout again."""
    places = Places(1, 0.05)
    await places.take()
    last = asyncio.create_task(places.take())
    await asyncio.sleep(0)
    places._answers += 1  # an answer for another command
    await asyncio.sleep(0.06)
    assert not last.done()
    with pytest.raises(NoFreeConnectionError):
        await last


async def test_circuit_does_not_wait_behind_other_commands(client: Client) -> None:
    """A circuit's calls have one timeout each, which thousands of commands would use up."""
    store = RedisCircuitStore(client, "c", timeout_seconds=STORE_SECONDS)
    await store.snapshot(RULES)
    others = [asyncio.ensure_future(client.incr("{n}")) for _ in range(COMMANDS)]
    await asyncio.sleep(0)
    await asyncio.gather(*(store.snapshot(RULES) for _ in range(CONNECTIONS)))
    assert sum(each.done() for each in others) < COMMANDS / 2
    await asyncio.gather(*others)
    await store.aclose()
