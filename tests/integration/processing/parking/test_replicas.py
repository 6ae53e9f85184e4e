"""Writes that replicas must confirm, on a real primary with a real replica."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from processing.errors import LeaseLostError, OwnershipLostError, StorageUnavailableError
from processing.parking.redis import RedisParkingStore
from tests.support.own_redis import Server
from tests.support.processing.parking_stores import (
    DEFERRAL,
    IDENTITY,
    SOURCE,
    at,
    claimed,
    defer,
    leased,
    park_key,
    positions,
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary and its replica."""

    primary: Server
    replica: Server
    client: Any

    def store(
        self, replicas: int = 1, *, client: Any = None, milliseconds: int = 30_000
    ) -> RedisParkingStore:
        return RedisParkingStore(
            client or self.client,
            most=10,
            ttl_seconds=60,
            identity=IDENTITY,
            replicas=replicas,
            confirm_milliseconds=milliseconds,
        )

    def hasty(self, replicas: int = 1, *, client: Any = None) -> RedisParkingStore:
        """Return a store that hardly waits for confirmations."""
        return self.store(replicas, client=client, milliseconds=20)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    both = Server(tmp_path_factory.mktemp("primary")), Server(tmp_path_factory.mktemp("replica"))
    try:
        for each in both:
            each.start()
        yield both
    finally:
        for each in both:
            each.stop()


@pytest.fixture
async def pair(servers: tuple[Server, Server]) -> AsyncIterator[Pair]:
    primary, replica = servers
    async with Redis(port=primary.port) as client, Redis(port=replica.port) as other:
        await client.config_set("repl-diskless-sync-delay", 0)
        await other.replicaof("127.0.0.1", primary.port)
        await client.flushall()
        await client.set("before", "x")
        while not await client.wait(1, 100):  # the replica's first copy takes a moment
            await client.set("before", "x")
        yield Pair(primary, replica, client)
        replica.send(signal.SIGCONT)


async def test_confirmed_write_is_on_the_replica(pair: Pair) -> None:
    """An unclean failover right after the write loses nothing."""
    store = pair.store()
    assert await store.confirm()
    writing = await park_key(store, "k", 11)
    await defer(store, writing, "j", 12)
    await leased(store)
    await store.finish(SOURCE, "k", "t", at(10))
    async with Redis(port=pair.replica.port) as client:
        copy = RedisParkingStore(client, most=10, ttl_seconds=60, identity=IDENTITY)
        assert await positions(copy, "k") == [at(11)]
        assert await positions(copy, "j") == [at(12)]


async def test_lagging_replica_makes_every_durable_write_fail(pair: Pair) -> None:
    """The error names the numbers; the caller repeats the write."""
    store = pair.hasty()
    writing = await park_key(pair.store())
    await defer(pair.store(), writing, "j", 12)
    for key in ("k", "j"):
        await leased(store, key)
    pair.replica.send(signal.SIGSTOP)
    for write in (
        lambda: store.poison(writing, SOURCE, "new", at(11), "p"),
        lambda: store.park(writing, SOURCE, "k", [(at(13), "e")]),
        lambda: defer(store, writing, "new", 14),
        lambda: store.postpone(SOURCE, "j", "t", DEFERRAL, 5),
        lambda: store.replace(SOURCE, "k", "t", at(13), "Pp"),
        lambda: store.finish(SOURCE, "k", "t", at(10)),
    ):
        with pytest.raises(StorageUnavailableError, match="0 of 1 replicas confirmed"):
            await write()


async def test_repeat_of_a_write_waits_again(pair: Pair) -> None:
    """The first attempt has written everything; its repeat must not succeed without replicas.

    WAIT concerns the writes of its own connection, and the repeat may use another connection.
    """
    store = pair.hasty()
    writing = await claimed(store)
    pair.replica.send(signal.SIGSTOP)
    for _ in range(2):
        async with Redis(port=pair.primary.port) as fresh:
            store = pair.hasty(client=fresh)
            with pytest.raises(StorageUnavailableError):
                await store.poison(writing, SOURCE, "k", at(11), "p")
        async with Redis(port=pair.primary.port) as fresh:
            store = pair.hasty(client=fresh)
            with pytest.raises(StorageUnavailableError):
                await store.park(writing, SOURCE, "k", [(at(12), "e")])
        async with Redis(port=pair.primary.port) as fresh:
            store = pair.hasty(client=fresh)
            with pytest.raises(StorageUnavailableError):
                await defer(store, writing, "j", 13)
    pair.replica.send(signal.SIGCONT)
    patient = pair.store()
    assert await patient.poison(writing, SOURCE, "k", at(11), "another") == "p"
    assert await positions(patient) == [at(11), at(12)]


async def test_stale_owner_is_refused_without_confirmation(pair: Pair) -> None:
    """A refusal writes nothing, so no replica must confirm it; else it would be repeated."""
    store = pair.hasty(2)
    writing = await claimed(store)
    await store.claim(SOURCE)
    with pytest.raises(OwnershipLostError):
        await store.poison(writing, SOURCE, "k", at(11), "p")
    with pytest.raises(LeaseLostError):
        await store.finish(SOURCE, "k", "t", at(11))


async def test_scripts_are_loaded_again_before_waiting(pair: Pair) -> None:
    """A restarted Redis has lost its scripts."""
    store = pair.store()
    writing = await park_key(store)
    await pair.client.script_flush()
    await store.park(writing, SOURCE, "k", [(at(11), "e")])
    assert await positions(store) == [at(10), at(11)]


async def test_missing_replica_ends_the_confirmations(pair: Pair) -> None:
    """The start of an app reports it; the partitions do not stand still for good."""
    store = pair.hasty(2)
    assert not await store.confirm()
    assert await store.confirm()
    await park_key(store)


@pytest.mark.parametrize("confirms_first", [True, False])
async def test_refused_wait_ends_the_confirmations(pair: Pair, confirms_first: bool) -> None:
    """An access policy may forbid WAIT; parking without it is better than no parking."""
    rights = ("on", ">secret", "~*", "&*", "+@all", "-wait")
    await pair.client.execute_command("ACL", "SETUSER", "app", *rights)
    async with Redis(port=pair.primary.port, username="app", password="secret") as client:
        store = pair.store(client=client)
        if confirms_first:
            assert not await store.confirm()
        await park_key(store, "k", 11)
        assert await store.confirm()


async def test_unreachable_redis_is_no_missing_replica(pair: Pair) -> None:
    """Redis may confirm later, so the store keeps expecting confirmations."""
    async with Redis(port=1, retry=Retry(NoBackoff(), 0)) as client:
        store = pair.store(client=client)
        for _ in range(2):
            with pytest.raises(StorageUnavailableError, match="parking store"):
                await store.confirm()
