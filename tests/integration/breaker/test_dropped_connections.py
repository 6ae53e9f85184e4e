"""Connections that lead to the wrong server, or to none: the client drops all of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from breaker import BreakerSettings, RedisCircuitStore, StoreUnavailableError
from breaker.errors import WritesRefusedError
from breaker.state import Permit
from breaker.stores.redis import Client, connect
from local.redis_proxy.proxy import SwitchingProxy
from tests.support.patience import HANG_SECONDS, STORE_SECONDS
from tests.support.redis_pair import Pair, proxied, running_pair

SETTINGS = BreakerSettings(name="c", store_timeout_seconds=STORE_SECONDS)
RULES = SETTINGS.rules("here:1")
CHANNEL = "breaker:{c}:changes"
KEPT = 5

type Address = tuple[SwitchingProxy, str]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running_pair(tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@pytest.fixture
def pair(servers: Pair) -> Pair:
    with servers.client(servers.primary) as admin:
        admin.flushall()
    return servers


@pytest.fixture
async def address(pair: Pair) -> AsyncIterator[Address]:
    async with proxied(pair) as address:
        yield address


async def record(store: RedisCircuitStore, number: int) -> None:
    await store.record_failure(RULES, str(number), "boom", Permit(0))


async def at_once(store: RedisCircuitStore) -> list[object]:
    """Run so many operations at once that the client has several connections."""
    calls = (record(store, number) for number in range(KEPT))
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_failover_behind_one_address(pair: Pair, address: Address) -> None:
    """The first refused write drops all connections; the next writes reach the new primary."""
    proxy, url = address
    client = connect(url, SETTINGS)
    store = RedisCircuitStore(client, "c", timeout_seconds=STORE_SECONDS)
    assert await at_once(store) == [None] * KEPT
    proxy.switch(pair.fail_over())
    with pytest.raises(WritesRefusedError, match=r"takes no writes: READONLY .* REDIS_URL"):
        await record(store, 10)
    assert await at_once(store) == [None] * KEPT
    with pair.client(pair.primary) as admin:
        assert admin.zcard("breaker:{c}:window") == KEPT
    await store.aclose()
    await client.aclose()


async def test_client_commands_reach_the_new_primary(pair: Pair, address: Address) -> None:
    """The commands of processing and of the console share the pool."""
    proxy, url = address

    async def write(client: Client) -> list[object]:
        calls = (client.set(f"k{number}", "v") for number in range(KEPT))
        return await asyncio.gather(*calls, return_exceptions=True)

    client = connect(url, SETTINGS)
    assert await write(client) == [True] * KEPT
    proxy.switch(pair.fail_over())
    with pytest.raises(redis.exceptions.ReadOnlyError):
        await client.set("k", "v")
    assert await write(client) == [True] * KEPT
    await client.aclose()


async def test_pipeline_reaches_the_new_primary(pair: Pair, address: Address) -> None:
    """Both replies of a script and its WAIT are read before the connection closes."""
    proxy, url = address
    client = connect(url, SETTINGS)
    await client.set("k", "v")
    proxy.switch(pair.fail_over())

    async def write() -> list[object]:
        async with client.pipeline(transaction=False) as pipe:
            pipe.set("k", "w")
            pipe.get("k")
            return await pipe.execute(raise_on_error=False)

    refused, read = await write()
    assert isinstance(refused, redis.exceptions.ReadOnlyError)
    assert read == b"v"
    assert await write() == [True, b"w"]
    await client.aclose()


async def test_subscription_moves_to_the_new_primary(pair: Pair, address: Address) -> None:
    """A refused write also closes the subscription, which subscribes at the new primary."""
    proxy, url = address
    client = connect(url, SETTINGS)
    store = RedisCircuitStore(client, "c", timeout_seconds=STORE_SECONDS)
    changes = store.changes(RULES)
    assert await anext(changes) is None
    await record(store, 0)
    proxy.switch(pair.fail_over())
    with pytest.raises(WritesRefusedError):
        await record(store, 1)
    async with asyncio.timeout(HANG_SECONDS):
        assert await anext(changes) is None
    with pair.client(pair.primary) as admin:
        assert dict(admin.pubsub_numsub(CHANNEL)) == {CHANNEL.encode(): 1}
    await changes.aclose()
    await store.aclose()
    await client.aclose()


async def test_muted_connections_cost_one_timeout(address: Address) -> None:
    """The peer is gone without FIN or RST: of the kept connections only one is tried."""
    proxy, url = address
    client = connect(url, BreakerSettings(store_timeout_seconds=0.5))
    store = RedisCircuitStore(client, "c", timeout_seconds=0.5)
    await at_once(store)  # the server loads the script
    await at_once(store)
    proxy.mute()
    with pytest.raises(StoreUnavailableError, match="no answer within"):
        await record(store, 10)
    for number in range(KEPT):
        await record(store, number)
    await store.aclose()
    await client.aclose()


async def test_muted_connections_cost_a_client_command_one_timeout(address: Address) -> None:
    """The client repeats the command on a new connection; the others are new, too."""
    proxy, url = address
    client = connect(url, BreakerSettings(store_timeout_seconds=0.5))
    await asyncio.gather(*(client.set(f"k{number}", "v") for number in range(KEPT)))
    assert proxy.mute() == KEPT
    assert await client.set("k", "v")
    async with asyncio.timeout(HANG_SECONDS):
        while proxy.connections > 1:
            await asyncio.sleep(0.01)
    await client.aclose()


async def test_timeout_drops_the_connections_of_each_client_of_the_address(
    address: Address,
) -> None:
    """A handler's own client does not wait for a timeout of its own."""
    proxy, url = address
    client = connect(url, BreakerSettings(store_timeout_seconds=0.5))
    own = connect(url.removesuffix("/0") + "/1", SETTINGS)
    await asyncio.gather(*(own.set(f"k{number}", "v") for number in range(KEPT)))
    await client.ping()
    assert proxy.mute() == KEPT + 1
    await client.ping()  # on a new connection, after a timeout
    async with asyncio.timeout(HANG_SECONDS):
        while proxy.connections > 1:
            await asyncio.sleep(0.01)
    assert await own.get("k0") == b"v"
    await own.aclose()
    await client.aclose()


@pytest.mark.parametrize("seconds", [0.6, 0.0])
async def test_timeout_of_the_caller_drops_the_others(address: Address, seconds: float) -> None:
    """Only a command that had waited for a while shows that the connections are mute."""
    proxy, url = address
    client = connect(url, BreakerSettings(store_timeout_seconds=1.0))
    await asyncio.gather(*(client.set(f"k{number}", "v") for number in range(KEPT)))
    assert proxy.mute() == KEPT
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await client.set("k", "v")
    async with asyncio.timeout(HANG_SECONDS):
        while proxy.connections > (0 if seconds else KEPT):
            await asyncio.sleep(0.01)
    assert proxy.connections == (0 if seconds else KEPT)
    await client.aclose()


async def test_cut_connections_cost_no_error(pair: Pair, address: Address) -> None:
    """A reset connection is noticed before it is used, by stores and by other commands."""
    proxy, url = address
    client = connect(url, SETTINGS)
    store = RedisCircuitStore(client, "c", timeout_seconds=STORE_SECONDS)
    for _ in range(3):
        assert await at_once(store) == [None] * KEPT
        calls = (client.set(f"k{number}", "v") for number in range(KEPT))
        assert await asyncio.gather(*calls, return_exceptions=True) == [True] * KEPT
        assert proxy.cut()
        for _ in range(10):  # the event loop notices the resets
            await asyncio.sleep(0)
    await store.aclose()
    await client.aclose()


async def test_muted_subscription_subscribes_again(pair: Pair, address: Address) -> None:
    """A timeout closes the subscription as well, long before it notices that pings fail."""
    proxy, url = address
    client = connect(url, BreakerSettings(store_timeout_seconds=0.5))
    store = RedisCircuitStore(client, "c", timeout_seconds=0.5)
    changes = store.changes(RULES)
    assert await anext(changes) is None
    await record(store, 1)
    proxy.mute()
    with pytest.raises(StoreUnavailableError):
        await record(store, 2)
    async with asyncio.timeout(HANG_SECONDS):
        assert await anext(changes) is None
    await changes.aclose()
    await store.aclose()
    await client.aclose()
