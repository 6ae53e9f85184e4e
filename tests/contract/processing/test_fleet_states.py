"""Contract of every store of the fleet's view of the partitions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from local.services.ports import free_port
from processing.errors import StorageUnavailableError
from processing.monitoring.fleet import FleetStates, MemoryFleetStates, states_to_json
from processing.monitoring.partition_state import PartitionState, State
from processing.monitoring.reasons import Why
from processing.monitoring.redis_fleet import RedisFleetStates
from tests.support.processing.events import IDENTITY

STALLED = PartitionState(
    "events", "0", State.STALLED, 61.0, 7, "ab12", Why.KEPT, "TimeoutError: bänk"
)


@pytest.fixture(params=["memory", "redis"])
async def fleet(request: pytest.FixtureRequest) -> AsyncIterator[FleetStates]:
    if request.param == "memory":
        yield MemoryFleetStates()
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as client:
        yield RedisFleetStates(client, IDENTITY)


async def test_report_is_read_with_its_instance(fleet: FleetStates) -> None:
    """Every instance shows the states of all partitions."""
    await fleet.report("a:1", [STALLED])
    await fleet.report("b:2", [replace(STALLED, partition="1", why=None, state=State.SLOW)])
    found = sorted(await fleet.reports(), key=lambda each: each.partition)
    assert [(each.instance, each.partition, each.state) for each in found] == [
        ("a:1", "0", State.STALLED),
        ("b:2", "1", State.SLOW),
    ]
    assert found[0] == replace(STALLED, instance="a:1", seconds=found[0].seconds)
    assert 61.0 <= found[0].seconds < 71.0


async def test_report_replaces_the_earlier_report(fleet: FleetStates) -> None:
    """A partition that has recovered is no longer reported."""
    await fleet.report("a:1", [STALLED])
    await fleet.report("a:1", [replace(STALLED, partition="1")])
    assert [each.partition for each in await fleet.reports()] == ["1"]
    await fleet.report("a:1", [])
    assert await fleet.reports() == []


async def test_watermark_has_an_age_from_its_first_observation(fleet: FleetStates) -> None:
    """A partition whose watermark moves, or that has no unfinished event, starts again at 0."""
    assert await fleet.observe({"0": None, "1": 5}) == {"0": 0.0, "1": 0.0}
    while not (await fleet.observe({"0": None, "1": 5}))["0"]:
        pass  # each call lets some time pass
    aged = await fleet.observe({"0": None, "1": 6})
    assert aged["0"] > 0
    assert aged["1"] == 0
    assert await fleet.observe({}) == {}
    assert await fleet.observe({"0": None}) == {"0": 0.0}


async def test_one_instance_has_the_turn(fleet: FleetStates) -> None:
    """The instance that has the turn keeps the turn."""
    assert await fleet.take_turn("a:1")
    assert not await fleet.take_turn("b:2")
    assert await fleet.take_turn("a:1")


async def test_keys_expire_by_themselves(redis_url: str) -> None:
    """An app that no longer runs leaves nothing behind."""
    async with Redis.from_url(redis_url) as client:
        fleet = RedisFleetStates(client, IDENTITY)
        await fleet.report("a:1", [STALLED])
        await fleet.observe({"0": 1})
        await fleet.take_turn("a:1")
        keys = [key async for key in client.scan_iter("*")]
        assert len(keys) == 3
        assert all([0 < await client.pttl(key) <= 60_000 for key in keys])


async def test_old_report_is_left_out_and_deleted(redis_url: str) -> None:
    """An instance that died reports nothing."""
    async with Redis.from_url(redis_url) as client:
        fleet = RedisFleetStates(client, IDENTITY)
        key = f"breakwater:{{{IDENTITY}}}:reports"
        await client.hset(key, "dead:1", f"1000:{states_to_json([STALLED])}")
        await client.hset(key, "odd:1", "x")
        assert await fleet.reports() == []
        await fleet.report("a:1", [STALLED])
        assert await client.hkeys(key) == [b"a:1"]


async def test_state_of_a_newer_version_is_left_out(redis_url: str) -> None:
    """During a deployment two versions report."""
    async with Redis.from_url(redis_url) as client:
        fleet = RedisFleetStates(client, IDENTITY)
        await fleet.report("a:1", [STALLED])
        key = f"breakwater:{{{IDENTITY}}}:reports"
        text: Any = await client.hget(key, "a:1")
        await client.hset(key, "b:2", text.decode().replace('"stalled"', '"unheard of"'))
        assert [each.instance for each in await fleet.reports()] == ["a:1"]


async def test_unreachable_redis_raises_storage_unavailable() -> None:
    """The caller shows the states of its own instance."""
    async with Redis.from_url(f"redis://127.0.0.1:{free_port()}/0") as client:
        fleet = RedisFleetStates(client, IDENTITY)
        for call in (
            fleet.report("a:1", []),
            fleet.reports(),
            fleet.observe({}),
            fleet.take_turn("a:1"),
        ):
            with pytest.raises(StorageUnavailableError, match="states of the partitions"):
                await call
