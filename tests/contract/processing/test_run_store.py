"""Contract of every store of running redrives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from local.services.ports import free_port
from processing.errors import RedriveRunningError, StorageUnavailableError
from processing.identity import Identity
from processing.redrive.redis_run_store import RedisRunStore
from processing.redrive.run_store import (
    RUN_SECONDS,
    MemoryRunStore,
    RunningRedrive,
    RunPlace,
    RunStore,
)
from tests.support.processing.events import IDENTITY

ALL = RunningRedrive("anna@host1")
KEY = f"breakwater:{{{IDENTITY}}}:redrives"


@dataclass
class Stored:
    """A store, and what lets the time of its redrives pass."""

    store: RunStore
    expire: Callable[[str], Awaitable[None]]


@pytest.fixture(params=["memory", "redis"])
async def stored(request: pytest.FixtureRequest) -> AsyncIterator[Stored]:
    if request.param == "memory":
        times = [1_000_000.0]

        async def later(_: str) -> None:
            times[0] += RUN_SECONDS

        yield Stored(MemoryRunStore(lambda: times[0]), later)
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as client:

        async def expire(token: str) -> None:
            found: Any = await client.hget(KEY, token)
            await client.hset(KEY, token, b"1 " + found.partition(b" ")[2])

        yield Stored(RedisRunStore(client, IDENTITY), expire)


@pytest.fixture
def store(stored: Stored) -> RunStore:
    return stored.store


async def test_running_redrive_is_shown_with_its_progress_and_its_beginning(
    store: RunStore,
) -> None:
    """Operators see who redrives which events, and how far."""
    begun = await store.begin("1", ALL)
    assert begun.since >= 1_000_000
    far = replace(begun, done=3412, total=20_000, failed=2)
    await store.renew("1", far)
    assert await store.running() == [far]


async def test_ended_redrive_is_not_shown(store: RunStore) -> None:
    await store.begin("1", ALL)
    await store.end("1")
    await store.end("unknown")
    assert await store.running() == []
    await store.begin("2", ALL)


async def test_second_redrive_of_all_events_is_refused(store: RunStore) -> None:
    """The refusal says who redrives, and how far."""
    begun = await store.begin("1", ALL)
    await store.renew("1", replace(begun, done=3412, total=20_000))
    with pytest.raises(RedriveRunningError, match=r"anna@host1 redrives everything: 3,412 of"):
        await store.begin("2", replace(ALL, by="bob@host2"))
    assert [each.by for each in await store.running()] == ["anna@host1"]


async def test_redrives_of_a_key_or_an_event_run_beside_one_of_all(store: RunStore) -> None:
    """The lease of a key keeps two redrives from replaying it at the same time."""
    of_key = RunningRedrive("bob", RunPlace.CONSOLE, key="alice")
    of_event = RunningRedrive("carl", RunPlace.CONSOLE, id="0/1/2", discards=True)
    for number, run in enumerate([of_key, of_event, ALL, of_key]):
        await store.begin(f"{number}", run)
    running = await store.running()
    assert [each.by for each in running] == ["anna@host1", *(each.by for each in running[1:])]
    assert sorted(each.by for each in running[1:]) == ["bob", "bob", "carl"]
    assert {(each.key, each.id, each.discards) for each in running} == {
        (None, None, False),
        ("alice", None, False),
        (None, "0/1/2", True),
    }


async def test_redrive_without_renewal_expires(stored: Stored) -> None:
    """Its process has died; the next redrive of all events may begin."""
    await stored.store.begin("1", ALL)
    await stored.expire("1")
    assert await stored.store.running() == []
    await stored.store.begin("2", replace(ALL, by="bob"))
    assert [each.by for each in await stored.store.running()] == ["bob"]


async def test_redrive_that_expired_while_the_store_was_away_is_shown_again(
    stored: Stored,
) -> None:
    begun = await stored.store.begin("1", ALL)
    await stored.expire("1")
    far = replace(begun, done=7, total=8)
    await stored.store.renew("1", far)
    assert await stored.store.running() == [far]


async def test_selection_of_an_empty_key_is_not_one_of_all_events(store: RunStore) -> None:
    await store.begin("1", replace(ALL, key=""))
    await store.begin("2", ALL)
    await store.begin("3", replace(ALL, id=""))
    assert len(await store.running()) == 3


async def test_each_app_has_its_own_redrives(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        await RedisRunStore(client, IDENTITY).begin("1", ALL)
        other = RedisRunStore(client, Identity("ns.example.net", "other", "$Default"))
        assert await other.running() == []
        await other.begin("2", ALL)
        assert 0 < await client.pttl(KEY) <= RUN_SECONDS * 1000


async def test_record_of_a_newer_version_still_refuses(redis_url: str) -> None:
    """Unknown fields are ignored; a record that cannot be read is not shown."""
    async with Redis.from_url(redis_url) as client:
        store = RedisRunStore(client, IDENTITY)
        more = b'{"by": "anna", "where": "console", "speed": 7}'
        await client.hset(KEY, "1", b"99999999999999 1000 0 " + more)
        await client.hset(KEY, "2", b'99999999999999 1000 1 {"where": "elsewhere"}')
        await client.hset(KEY, "3", b"?")
        assert [(each.by, each.where) for each in await store.running()] == [("anna", "console")]
        with pytest.raises(RedriveRunningError, match="an operator redrives everything"):
            await store.begin("4", ALL)


async def test_full_redis_records_a_redrive(redis_url: str) -> None:
    """A redrive makes room, so a full Redis must not prevent it."""
    async with Redis.from_url(redis_url) as client:
        store = RedisRunStore(client, IDENTITY)
        before: Any = (await client.config_get("maxmemory"))["maxmemory"]
        await client.config_set("maxmemory", 1)
        try:
            begun = await store.begin("1", ALL)
            await store.renew("1", replace(begun, done=1, total=2))
            assert [each.done for each in await store.running()] == [1]
        finally:
            await client.config_set("maxmemory", before)


async def test_silent_store_is_unavailable() -> None:
    retry = Retry(NoBackoff(), 0)
    async with Redis(port=free_port(), retry=retry) as client:
        store = RedisRunStore(client, IDENTITY)
        for call in (store.begin("1", ALL), store.renew("1", ALL), store.end("1")):
            with pytest.raises(StorageUnavailableError, match="running redrives"):
                await call
        with pytest.raises(StorageUnavailableError, match="running redrives"):
            await store.running()
