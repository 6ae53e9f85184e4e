"""A replay's lease after a real Redis was away at the replay's end."""

from __future__ import annotations

import asyncio
from pathlib import Path

from breaker import BreakerSettings
from breaker.stores.redis import connect
from processing.parking.redis import RedisParkingStore
from processing.redrive.key_lease import KeyLease
from processing.redrive.lease_returns import LeaseReturns
from tests.support.own_redis import Server
from tests.support.patience import HANG_SECONDS, STORE_SECONDS
from tests.support.processing.events import SOURCE

LEASE_SECONDS = 100 * HANG_SECONDS


async def test_lease_is_returned_after_a_restart_of_redis(tmp_path: Path) -> None:
    """The key need not wait until the lease expires."""
    server = Server(tmp_path)
    server.start()
    client = connect(server.url, BreakerSettings(store_timeout_seconds=STORE_SECONDS))
    store = RedisParkingStore(client, most=10, ttl_seconds=600, identity=SOURCE.identity)
    returns = LeaseReturns(store)
    try:
        lease = KeyLease(store, SOURCE, "k", LEASE_SECONDS, returns)
        assert await lease.acquire()
        async with lease.held():
            server.stop()
        server.start()
        async with asyncio.timeout(HANG_SECONDS):
            while not await KeyLease(store, SOURCE, "k", LEASE_SECONDS).acquire():
                await asyncio.sleep(0.05)
    finally:
        returns.stop()
        await client.aclose()
        server.stop()
