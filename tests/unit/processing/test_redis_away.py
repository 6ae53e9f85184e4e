"""Whatever the driver raises when Redis is away, what is kept in Redis names it as that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from breaker import BreakerSettings
from breaker.stores.redis import Client, connect
from processing.errors import DependencyUnavailableError, StorageUnavailableError
from processing.handlers.ledger import LedgerHandler
from processing.monitoring.redis_vitals import RedisVitals
from processing.parking.redis import RedisParkingStore
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark
from tests.support.processing.events import SOURCE, event


@pytest.fixture(params=[False, True], ids=["redis", "cluster"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """Of a server where nobody listens; a cluster's client has an error of its own for that."""
    made = connect("redis://127.0.0.1:1/0", BreakerSettings(redis_cluster=request.param))
    yield made
    await made.aclose()


def parking(client: Client) -> RedisParkingStore:
    return RedisParkingStore(client, most=10, ttl_seconds=10)


ACTS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "open progress": lambda client: RedisProgressStore(client, ttl_seconds=10).open(SOURCE),
    "load progress": lambda client: RedisProgressStore(client, ttl_seconds=10).load(SOURCE),
    "commit progress": lambda client: RedisProgressStore(client, ttl_seconds=10).commit(
        SOURCE, 1, None, [Mark(1, 1)]
    ),
    "claim parking": lambda client: parking(client).claim(SOURCE, "token", ""),
    "list parked keys": lambda client: parking(client).keys(),
    "write vitals": lambda client: RedisVitals(client, "c", "here").write("{}"),
}


@pytest.mark.parametrize("act", ACTS)
async def test_a_store_says_that_it_is_away(client: Client, act: str) -> None:
    """Who writes progress holds then; any other error would end the batch there and then."""
    with pytest.raises(StorageUnavailableError):
        await ACTS[act](client)


async def test_the_ledger_keeps_its_event(client: Client) -> None:
    """An outage fills no poison queue."""
    with pytest.raises(DependencyUnavailableError):
        await LedgerHandler(client)(event(1, "a"))
