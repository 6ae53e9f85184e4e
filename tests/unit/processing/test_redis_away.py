"""Errors of the Redis driver while Redis is unreachable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from breaker import BreakerSettings
from breaker.stores.redis import Client, connect
from processing.errors import DependencyUnavailableError, StorageUnavailableError
from processing.handlers.ledger import LedgerHandler
from processing.monitoring.redis_vitals import RedisVitals
from processing.parking.redis import RedisParkingStore
from processing.partitions.redis_gaps import RedisGapStore
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark
from tests.support.processing.events import IDENTITY, SOURCE, event


@pytest.fixture(params=[False, True], ids=["redis", "cluster"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """Yield a client of a server that does not listen; a cluster's client has its own errors."""
    connected = connect("redis://127.0.0.1:1/0", BreakerSettings(redis_cluster=request.param))
    yield connected
    await connected.aclose()


def parking(client: Client) -> RedisParkingStore:
    return RedisParkingStore(client, most=10, ttl_seconds=10, identity=IDENTITY)


OPERATIONS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "load progress": lambda client: RedisProgressStore(client, ttl_seconds=10).load(SOURCE),
    "commit progress": lambda client: RedisProgressStore(client, ttl_seconds=10).commit(
        SOURCE, 1, None, [Mark(1, 1)]
    ),
    "note the hub's creation": lambda client: RedisProgressStore(
        client, ttl_seconds=10
    ).note_created(SOURCE, 1),
    "note a step of the clock": lambda client: RedisProgressStore(client, ttl_seconds=10).note_step(
        SOURCE, 1000, 1
    ),
    "record a gap": lambda client: RedisGapStore(client, ttl_seconds=10).record(
        SOURCE, 1, 2, created_ms=1, handled=()
    ),
    "list gaps": lambda client: RedisGapStore(client, ttl_seconds=10).gaps(SOURCE),
    "claim parking": lambda client: parking(client).claim(SOURCE),
    "list parked keys": lambda client: parking(client).keys(),
    "write vitals": lambda client: RedisVitals(client, "c", "here").write("{}"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_unreachable_redis_raises_storage_unavailable(client: Client, operation: str) -> None:
    """Processing holds on this error. Any other error would end the batch at once."""
    with pytest.raises(StorageUnavailableError):
        await OPERATIONS[operation](client)


async def test_ledger_raises_dependency_unavailable(client: Client) -> None:
    """An outage must not fill the poison queue."""
    with pytest.raises(DependencyUnavailableError):
        await LedgerHandler(client)(event(1, "a"))
