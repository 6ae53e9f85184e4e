"""Connections that stay open although Redis refuses writes, and how the others are replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from breaker import BreakerSettings, RedisCircuitStore, StoreUnavailableError
from breaker.state import Permit
from breaker.stores.redis import connect
from tests.support.patience import HANG_SECONDS, STORE_SECONDS
from tests.support.refusing_redis import Refusing, running_refusing

SETTINGS = BreakerSettings(name="c", store_timeout_seconds=STORE_SECONDS)
RULES = SETTINGS.rules("here:1")
COMMANDS = 50
KEPT = 5


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[Refusing]:
    """Return a server with a new address, whose connections nothing has closed before."""
    with running_refusing(tmp_path) as running:
        yield running


def received(refusing: Refusing) -> int:
    """Return the number of connections that the server has accepted since its start."""
    return int(refusing.admin.info("stats")["total_connections_received"])


@pytest.mark.parametrize("code", ["NOPERM", "OOM"])
async def test_refusal_of_each_node_keeps_the_connections(refusing: Refusing, code: str) -> None:
    """An ACL and a limit of memory hold for open connections, so new ones change nothing."""
    store = RedisCircuitStore.from_settings(refusing.url, SETTINGS)
    changes = store.changes(RULES)
    assert await anext(changes) is None
    await store.snapshot(RULES)
    refusing.refuse(code)
    before = received(refusing)
    assert code in (await store.snapshot(RULES)).refused
    assert code in (await store.snapshot(RULES)).refused
    await asyncio.sleep(0.05)  # a subscription that was closed would subscribe again
    assert received(refusing) == before
    await changes.aclose()
    await store.aclose()


@pytest.mark.parametrize("code", ["NOPERM", "OOM", "READONLY"])
async def test_refused_commands_cost_few_connections(refusing: Refusing, code: str) -> None:
    """Each second the connections are replaced at most once, also if each command is refused."""
    client = connect(refusing.url, SETTINGS)
    await client.ping()
    refusing.refuse(code)
    before, loop = received(refusing), asyncio.get_running_loop()
    started = loop.time()
    for number in range(COMMANDS):
        with pytest.raises(ResponseError):
            await client.set(f"k{number}", "v")
    drops = 0 if code != "READONLY" else 1 + int(loop.time() - started)
    assert received(refusing) - before <= drops
    await client.aclose()


async def test_closed_kept_connection_connects_within_the_store_timeout(
    refusing: Refusing,
) -> None:
    """A longer timeout in the address is that of other commands."""
    settings = BreakerSettings(name="c", store_timeout_seconds=0.5)
    client = connect(f"{refusing.url}?socket_timeout={10 * HANG_SECONDS:g}", settings)
    store = RedisCircuitStore(client, "c", timeout_seconds=0.5)
    for _ in range(2):
        calls = (store.record_failure(RULES, str(n), "boom", Permit(0)) for n in range(KEPT))
        await asyncio.gather(*calls)
    with refusing.stopped():
        for _ in range(KEPT + 1):
            async with asyncio.timeout(HANG_SECONDS):
                with pytest.raises(StoreUnavailableError, match=r"no answer within 0\.5 s"):
                    await store.record_failure(RULES, "b", "boom", Permit(0))
    await store.aclose()
    await client.aclose()
