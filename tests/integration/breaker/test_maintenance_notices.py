"""No Redis client of this repository asks the server for maintenance notices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from redis.asyncio import RedisCluster
from redis.maint_notifications import MaintNotificationsConfig

from breaker import BreakerSettings
from breaker.stores.redis import connect
from loadtest.target import clients
from loadtest.target.endpoints import Endpoints
from loadtest.verify import collector
from tests.support.recording_relay import recording_relay

REQUEST = b"MAINT_NOTIFICATIONS"


async def _app(endpoints: Endpoints) -> None:
    client = connect(endpoints.redis_url)
    assert await client.ping()
    await client.aclose()


async def _load_test(endpoints: Endpoints) -> None:
    async with clients.async_redis(endpoints) as client:
        assert await client.ping()


async def _collector(endpoints: Endpoints) -> None:
    with collector.connect(endpoints) as client:
        assert client.ping()


@pytest.mark.parametrize("use", [_app, _load_test, _collector])
async def test_client_does_not_ask_for_maintenance_notices(
    redis_url: str, use: Callable[[Endpoints], Awaitable[None]]
) -> None:
    """An announced host that cannot be reached would block new connections."""
    address = urlsplit(redis_url)
    assert address.port
    with recording_relay(address.port) as relay:
        url = f"redis://127.0.0.1:{relay.port}{address.path}"
        await use(Endpoints(url, "", "", "", "", "", "", "", "", Path()))
        assert b"PING" in relay.sent
        assert REQUEST not in relay.sent


async def test_cluster_client_does_not_ask_for_maintenance_notices() -> None:
    """The cluster client has notices of its own, which move slots between nodes."""
    client = connect("redis://127.0.0.1:1", BreakerSettings(redis_cluster=True))
    assert isinstance(client, RedisCluster)
    config = client.maint_notifications_config
    assert isinstance(config, MaintNotificationsConfig)
    assert not config.enabled


def test_plain_client_asks_for_maintenance_notices(redis_url: str) -> None:
    """The test above would see the request: redis-py asks by default."""
    port = urlsplit(redis_url).port
    assert port
    with recording_relay(port) as relay, redis.Redis(port=relay.port) as client:
        assert client.ping()
        assert REQUEST in relay.sent
