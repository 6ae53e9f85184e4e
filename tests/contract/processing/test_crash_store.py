"""Contract of every store of crash loops, and of the openings that a claim records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

import processing.crashes.memory as crashes_in_memory
import processing.crashes.redis as crashes_in_redis
from local.services.ports import free_port
from processing.crashes.memory import MOST_RUNS, MemoryCrashStore
from processing.crashes.process import ProcessName
from processing.crashes.records import Opening, opening_text, parsed
from processing.crashes.redis import RedisCrashStore
from processing.crashes.store import FORGET_SECONDS, REPLAY_TTL_SECONDS, SILENT_SECONDS, CrashStore
from processing.errors import StorageUnavailableError
from processing.formats.keys import alive_key
from processing.identity import Source
from processing.parking.event import Lone
from processing.parking.memory import MemoryParkingStore
from processing.parking.redis import RedisParkingStore
from processing.parking.store import OPENINGS, ParkingStore
from processing.progress.memory import MemoryProgressStore
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark, ProgressStore
from tests.support.processing.parking_stores import IDENTITY, OTHER, SOURCE, at


def process(pid: int) -> ProcessName:
    """Return the name of a process on another machine."""
    return ProcessName("elsewhere", pid, "7")


@dataclass
class Stores:
    """A store of crash loops, and the stores beside it."""

    crashes: CrashStore
    parking: ParkingStore
    progress: ProgressStore

    async def open(
        self, pid: int, first: int = 10, last: int = 19, source: Source = SOURCE
    ) -> list[Opening]:
        """Claim a partition for a batch, and return the openings of other processes."""
        text = opening_text(process(pid), first, last, f"host:{pid}")
        return parsed(Opening, (await self.parking.claim(source, opening=text)).openings)


@pytest.fixture(params=["memory", "redis"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    if request.param == "memory":
        progress = MemoryProgressStore()
        parking = MemoryParkingStore(progress)
        yield Stores(MemoryCrashStore(parking), parking, progress)
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as client:
        yield Stores(
            RedisCrashStore(client, IDENTITY),
            RedisParkingStore(client, most=10, ttl_seconds=60, identity=IDENTITY),
            RedisProgressStore(client, ttl_seconds=60),
        )


async def test_claim_returns_the_openings_of_other_processes(stores: Stores) -> None:
    """The time is that of the claim, and each opening names its batch."""
    assert await stores.open(1) == []
    (first,) = await stores.open(2, 12, 15)
    assert (first.process, first.first, first.last) == (process(1), 10, 19)
    assert first.instance == "host:1"
    _, second = await stores.open(3)
    assert (second.process, second.first, second.last) == (process(2), 12, 15)
    assert second.at > first.at > 1_000_000 or first.at == 1


async def test_later_opening_of_a_process_replaces_the_earlier_one(stores: Stores) -> None:
    """The process still lives, so its earlier invocation has ended."""
    await stores.open(1)
    await stores.open(1, 15, 30)
    (known,) = await stores.open(2)
    assert (known.first, known.last) == (15, 30)


async def test_partitions_have_separate_openings(stores: Stores) -> None:
    """A crash in one partition says nothing about another one."""
    await stores.open(1)
    assert await stores.open(2, source=OTHER) == []


async def test_closed_opening_is_forgotten(stores: Stores) -> None:
    """The openings of other processes stay; a repeat changes nothing."""
    await stores.crashes.close(SOURCE, process(9))
    await stores.open(1)
    await stores.open(2)
    for _ in range(2):
        await stores.crashes.close(SOURCE, process(1))
    assert [each.process for each in await stores.open(3)] == [process(2)]


async def test_finished_batch_needs_no_close(stores: Stores) -> None:
    """Progress shows that all its events are finished."""
    await stores.open(1, 10, 19)
    await stores.open(2, 10, 25)
    await stores.progress.commit(SOURCE, 0, Mark(19, at_ms(19)), [])
    assert [each.process for each in await stores.open(3, 20, 29)] == [process(2)]


async def test_reset_forgets_the_openings(stores: Stores) -> None:
    """After a rewind, or in a recreated hub, the same numbers are other events."""
    await stores.open(1)
    await stores.progress.reset(SOURCE)
    assert await stores.open(2) == []


async def test_openings_are_bounded(stores: Stores) -> None:
    """The latest ones stay."""
    for pid in range(OPENINGS + 5):
        await stores.open(pid)
    found = await stores.open(99)
    assert [each.process.pid for each in found] == list(range(6, OPENINGS + 5))


async def test_claim_without_an_opening_records_none(stores: Stores) -> None:
    """A tool opens no batch."""
    await stores.open(1)
    claim = await stores.parking.claim(SOURCE)
    assert len(claim.openings) == 1
    assert [each.process for each in await stores.open(2)] == [process(1)]


async def test_event_runs_alone_until_its_end(stores: Stores) -> None:
    """Only a call that did not end leaves its record."""
    await stores.crashes.begin(SOURCE, process(1), at(7))
    (run,) = await stores.crashes.runs(SOURCE, at(7))
    assert (run.process, run.position, run.seconds) == (process(1), at(7), 0)
    assert await stores.crashes.runs(SOURCE, at(8)) == []
    assert await stores.crashes.runs(OTHER, at(7)) == []
    await stores.crashes.end(SOURCE, process(1))
    assert await stores.crashes.runs(SOURCE, at(7)) == []


async def test_sign_of_life_extends_the_running_time(stores: Stores) -> None:
    """A sign of an event that does not run alone changes nothing."""
    await stores.crashes.begin(SOURCE, process(1), at(7))
    (before,) = await stores.crashes.runs(SOURCE, at(7))
    await stores.crashes.still_runs(SOURCE, process(1), at(7))
    (after,) = await stores.crashes.runs(SOURCE, at(7))
    assert after.began == before.began
    assert after.alive > before.alive
    await stores.crashes.still_runs(SOURCE, process(2), at(7))
    assert await stores.crashes.runs(SOURCE, at(7)) == [after]


async def test_runs_of_dead_processes_stay(stores: Stores) -> None:
    """The next process begins and ends its own run; a finished event has no runs."""
    await stores.crashes.begin(SOURCE, process(1), at(7))
    await stores.crashes.begin(SOURCE, process(2), at(7))
    await stores.crashes.begin(SOURCE, process(3), at(8))
    assert [run.process.pid for run in await stores.crashes.runs(SOURCE, at(7))] == [1, 2]
    await stores.crashes.end(SOURCE, process(2))
    assert [run.process.pid for run in await stores.crashes.runs(SOURCE, at(7))] == [1]
    await stores.crashes.begin(SOURCE, process(2), at(7))
    await stores.crashes.end(SOURCE, process(2), at(7))
    assert await stores.crashes.runs(SOURCE, at(7)) == []
    assert [run.process.pid for run in await stores.crashes.runs(SOURCE, at(8))] == [3]


async def test_forgotten_event_has_no_runs(stores: Stores) -> None:
    """The event that its process runs now keeps its record."""
    await stores.crashes.begin(SOURCE, process(1), at(7))
    await stores.crashes.begin(SOURCE, process(2), at(7))
    await stores.crashes.begin(SOURCE, process(3), at(8))
    await stores.crashes.forget(SOURCE, at(7))
    assert await stores.crashes.runs(SOURCE, at(7)) == []
    assert [run.process.pid for run in await stores.crashes.runs(SOURCE, at(8))] == [3]


async def test_process_runs_one_event_alone(stores: Stores) -> None:
    """The next event of a process replaces the one before, whose end was not written."""
    await stores.crashes.begin(SOURCE, process(1), at(7))
    await stores.crashes.begin(SOURCE, process(1), at(8))
    assert await stores.crashes.runs(SOURCE, at(7)) == []
    assert len(await stores.crashes.runs(SOURCE, at(8))) == 1


async def test_runs_are_bounded(stores: Stores) -> None:
    """The latest ones stay."""
    for pid in range(MOST_RUNS + 5):
        await stores.crashes.begin(SOURCE, process(pid), at(7))
    found = await stores.crashes.runs(SOURCE, at(7))
    assert [run.process.pid for run in found] == list(range(5, MOST_RUNS + 5))


async def test_replays_of_a_key_that_did_not_end_are_returned(stores: Stores) -> None:
    """Each key and each partition has its own."""
    crashes = stores.crashes
    assert await crashes.open_replay(SOURCE, "k", process(1)) == []
    assert await crashes.open_replay(SOURCE, "k", process(1)) == []
    assert await crashes.open_replay(SOURCE, "k", process(2)) == [process(1)]
    assert await crashes.open_replay(SOURCE, "k", process(3)) == [process(1), process(2)]
    assert await crashes.open_replay(SOURCE, Lone(at(3)), process(3)) == []
    assert await crashes.open_replay(SOURCE, None, process(3)) == []
    assert await crashes.open_replay(OTHER, "k", process(3)) == []


async def test_ended_replay_is_forgotten(stores: Stores) -> None:
    """If an event of the key was finished, so are the replays that died before it."""
    crashes = stores.crashes
    await crashes.open_replay(SOURCE, "k", process(1))
    await crashes.open_replay(SOURCE, "k", process(2))
    await crashes.close_replay(SOURCE, "k", process(2), moved=False)
    assert await crashes.open_replay(SOURCE, "k", process(3)) == [process(1)]
    await crashes.close_replay(SOURCE, "k", process(3), moved=True)
    assert await crashes.open_replay(SOURCE, "k", process(4)) == []


async def test_replays_are_bounded(stores: Stores) -> None:
    """The latest ones stay."""
    for pid in range(MOST_RUNS + 5):
        await stores.crashes.open_replay(SOURCE, "k", process(pid))
    found = await stores.crashes.open_replay(SOURCE, "k", process(99))
    assert [each.pid for each in found] == list(range(5, MOST_RUNS + 5))


async def test_replays_in_redis_expire(redis_url: str) -> None:
    """A key that an operator has released is never replayed again."""
    async with Redis.from_url(redis_url) as client:
        await RedisCrashStore(client, IDENTITY).open_replay(SOURCE, "k", process(1))
        (key,) = [each async for each in client.scan_iter("*:replaying:*")]
        assert 0 < await client.ttl(key) <= REPLAY_TTL_SECONDS


async def test_process_is_silent_without_a_heartbeat(stores: Stores) -> None:
    """A process that leaves is silent at once."""
    assert await stores.crashes.is_silent(process(1))
    await stores.crashes.beat(process(1))
    assert not await stores.crashes.is_silent(process(1))
    assert await stores.crashes.is_silent(process(2))
    await stores.crashes.leave(process(1))
    assert await stores.crashes.is_silent(process(1))


async def test_last_heartbeat_is_kept_with_its_time(stores: Stores) -> None:
    """The time is the store's; a process that leaves has not died."""
    crashes = stores.crashes
    start = (await crashes.last_seen(0, 0, found_dead_before=0)).now
    for pid in (1, 2, 3):
        await crashes.beat(process(pid))
    middle = (await crashes.last_seen(0, 0, found_dead_before=0)).now
    await crashes.beat(process(1))
    await crashes.leave(process(3))
    end = (await crashes.last_seen(0, 0, found_dead_before=0)).now
    assert 1_000_000 < start <= middle <= end

    async def seen(first: int, last: int) -> set[ProcessName]:
        return set((await crashes.last_seen(first, last, found_dead_before=0)).processes)

    assert await seen(start, end) == {process(1), process(2)}
    assert await seen(start, middle - 1) == {process(2)}
    assert await seen(end + 1, end + 2) == set()


async def test_process_that_was_found_dead_earlier_is_left_out(stores: Stores) -> None:
    """The first time counts: a later owner of the partition finds the process dead again."""
    crashes = stores.crashes
    for pid in (1, 2):
        await crashes.beat(process(pid))
    await crashes.found_dead([process(1)])
    between = (await crashes.last_seen(0, 0, found_dead_before=0)).now + 1
    await asyncio.sleep(0.001)
    await crashes.found_dead([process(1), process(2)])
    seen = await crashes.last_seen(0, between, found_dead_before=between)
    assert seen.processes == [process(2)]
    seen = await crashes.last_seen(0, between, found_dead_before=0)
    assert set(seen.processes) == {process(1), process(2)}


async def test_heartbeat_ends_the_record_that_a_process_was_found_dead(stores: Stores) -> None:
    """The process was silent for a while, but lives; its real death must be seen later."""
    crashes = stores.crashes
    await crashes.beat(process(1))
    await crashes.beat(process(2))
    await crashes.found_dead([process(1), process(2)])
    await asyncio.sleep(0.001)
    await crashes.beat(process(1))
    now = (await crashes.last_seen(0, 0, found_dead_before=0)).now
    seen = await crashes.last_seen(0, now, found_dead_before=now + 1)
    assert seen.processes == [process(1)]


async def test_heartbeats_are_bounded(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest ones stay."""
    for module in (crashes_in_memory, crashes_in_redis):
        monkeypatch.setattr(module, "MOST_PROCESSES", 3)
    for pid in range(5):
        await stores.crashes.beat(process(pid))
        await asyncio.sleep(0.001)
    assert [await stores.crashes.is_silent(process(pid)) for pid in range(5)] == [
        *(True, True, False, False, False)
    ]


async def test_heartbeat_of_a_day_ago_is_forgotten(redis_url: str) -> None:
    """Only processes without a heartbeat get so old."""
    key = alive_key(IDENTITY)
    async with Redis.from_url(redis_url) as client:
        store = RedisCrashStore(client, IDENTITY)
        now = (await store.last_seen(0, 0, found_dead_before=0)).now
        old, young = (now - round((FORGET_SECONDS + more) * 1e6) for more in (1, -60))
        await client.zadd(key, {str(process(1)): old, str(process(2)): young})
        await store.beat(process(3))
        assert await client.zrange(key, 0, -1) == [str(process(pid)).encode() for pid in (2, 3)]
        assert 0 < await client.ttl(key) <= FORGET_SECONDS


async def test_heartbeat_expires_in_memory() -> None:
    """The limit is the one of Redis."""
    now = 1_000.0
    store = MemoryCrashStore(MemoryParkingStore(), lambda: now)
    await store.beat(process(1))
    now += SILENT_SECONDS - 0.1
    assert not await store.is_silent(process(1))
    now += 0.1
    assert await store.is_silent(process(1))


async def test_heartbeat_expires_in_redis(redis_url: str) -> None:
    """A dead process cannot remove its own heartbeat."""
    async with Redis.from_url(redis_url) as client:
        store = RedisCrashStore(client, IDENTITY)
        for more, silent in ((-5, False), (0, True)):
            now = (await store.last_seen(0, 0, found_dead_before=0)).now
            last = now - round((SILENT_SECONDS + more) * 1e6)
            await client.zadd(alive_key(IDENTITY), {str(process(1)): last})
            assert await store.is_silent(process(1)) is silent


async def test_process_becomes_silent_after_the_clock_was_set_back(redis_url: str) -> None:
    """Its last heartbeat lies in the future, but must not count as a sign of life until then."""
    now = 1_000.0
    memory = MemoryCrashStore(MemoryParkingStore(), lambda: now)
    await memory.beat(process(1))
    now -= 500
    await memory.beat(process(2))
    now += SILENT_SECONDS
    assert await memory.is_silent(process(1))
    async with Redis.from_url(redis_url) as client:
        store = RedisCrashStore(client, IDENTITY)
        start = (await store.last_seen(0, 0, found_dead_before=0)).now
        later = start + round(500 * 1e6)
        await client.zadd(alive_key(IDENTITY), {str(process(1)): later})
        await store.beat(process(2))
        end = (await store.last_seen(0, 0, found_dead_before=0)).now
        seen = await store.last_seen(start, end, found_dead_before=0)
        assert set(seen.processes) == {process(1), process(2)}


async def test_lines_of_another_form_are_ignored(redis_url: str) -> None:
    """A newer version may write them; nobody is blamed because of them."""
    async with Redis.from_url(redis_url) as client:
        parking = RedisParkingStore(client, most=10, ttl_seconds=60, identity=IDENTITY)
        crashes = RedisCrashStore(client, IDENTITY)
        key = "breakwater:{ns.example.net/events/$default/default/0}:parking:state"
        await client.hset(key, mapping={"opening": "v9 {}\n", "alone": f"{at(7)} new form\n"})
        text = opening_text(process(1), 10, 19, "host")
        assert parsed(Opening, (await parking.claim(SOURCE, opening=text)).openings) == []
        assert await crashes.runs(SOURCE, at(7)) == []
        await crashes.begin(SOURCE, process(1), at(7))
        assert len(await crashes.runs(SOURCE, at(7))) == 1


async def test_unreachable_redis_raises() -> None:
    """The caller decides what this means."""
    async with Redis(port=free_port(), retry=Retry(NoBackoff(), 0)) as client:
        store = RedisCrashStore(client, IDENTITY)
        with pytest.raises(StorageUnavailableError, match="store of crash loops"):
            await store.is_silent(process(1))


def at_ms(number: int) -> int:
    """Return the enqueued time of the event with this number."""
    return int(at(number)[:15])
