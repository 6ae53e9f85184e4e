"""Contract of every store of the hub's changes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from local.services.ports import free_port
from processing.errors import StorageUnavailableError
from processing.partitions.hub_changes import (
    MOST_CHANGES,
    ChangeKind,
    HubChange,
    HubChanges,
    MemoryHubChanges,
)
from processing.partitions.redis_hub_changes import RedisHubChanges
from tests.support.processing.events import IDENTITY

type Seen = tuple[ChangeKind, int, int, int]


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[HubChanges]:
    if request.param == "memory":
        yield MemoryHubChanges()
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as client:
        yield RedisHubChanges(client, IDENTITY, ttl_seconds=60)


def seen(changes: list[HubChange]) -> list[Seen]:
    return [(each.kind, each.created_ms, each.before, each.after) for each in changes]


def recreated(created_ms: int) -> Seen:
    return (ChangeKind.RECREATED, created_ms, 0, 0)


def grown(created_ms: int, before: int, after: int) -> Seen:
    return (ChangeKind.PARTITIONS, created_ms, before, after)


async def test_first_hub_is_no_change(store: HubChanges) -> None:
    assert await store.observe(1000, 4) == []
    assert await store.observe(1000, 4) == []


async def test_growth_is_stored_once(store: HubChanges) -> None:
    """Every survey, console and health request compares the hub."""
    await store.observe(1000, 4)
    changes = await store.observe(1000, 8)
    assert seen(changes) == [grown(1000, 4, 8)]
    assert changes[0].seen_ms > 1_700_000_000_000
    assert await store.observe(1000, 8) == changes
    assert await store.known() == changes


async def test_unobserved_hub_has_no_change(store: HubChanges) -> None:
    """A command that lists waiting keys does not ask the hub."""
    assert await store.known() == []
    await store.observe(1000, 4)
    assert await store.known() == []


async def test_recreated_hub_is_stored_once(store: HubChanges) -> None:
    await store.observe(1000, 4)
    changes = await store.observe(2000, 4)
    assert seen(changes) == [recreated(2000)]
    assert await store.observe(2000, 4, recreated=True) == changes


async def test_progress_shows_a_hub_that_was_recreated_before_the_first_observation(
    store: HubChanges,
) -> None:
    assert seen(await store.observe(2000, 4, recreated=True)) == [recreated(2000)]
    assert seen(await store.observe(2000, 4)) == [recreated(2000)]


async def test_late_answer_of_a_deleted_hub_is_ignored(store: HubChanges) -> None:
    """Two instances may ask the hub at the same time, one of them before the hub is recreated."""
    await store.observe(1000, 4)
    await store.observe(2000, 8)
    changes = await store.observe(1000, 4)
    assert sorted(seen(changes)) == sorted([grown(2000, 4, 8), recreated(2000)])
    assert await store.observe(2000, 8) == changes


async def test_changes_stand_in_their_order_and_old_ones_end(store: HubChanges) -> None:
    for number in range(MOST_CHANGES + 5):
        changes = await store.observe(1000, 100 + number)
    assert len(changes) == MOST_CHANGES
    assert changes == sorted(changes, key=lambda each: -each.seen_ms)
    assert grown(1000, 100, 101) not in seen(changes)
    assert grown(1000, 103 + MOST_CHANGES, 104 + MOST_CHANGES) in seen(changes)


async def test_store_that_does_not_answer_is_unavailable() -> None:
    retry = Retry(NoBackoff(), 0)
    url = f"redis://127.0.0.1:{free_port()}"
    async with Redis.from_url(url, retry=retry) as client:
        store = RedisHubChanges(client, IDENTITY, ttl_seconds=60)
        with pytest.raises(StorageUnavailableError, match="changes of the hub"):
            await store.observe(1000, 4)
        with pytest.raises(StorageUnavailableError, match="changes of the hub"):
            await store.known()
