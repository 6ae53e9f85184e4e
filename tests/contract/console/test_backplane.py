"""What a backplane must do, of the one in memory and the one in Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from breaker import BreakerSettings
from breaker.stores.redis import connect
from console.backplane import redis_stream
from console.backplane.coordination import READER, Coordination, MemoryCoordination
from console.backplane.redis_coordination import RedisCoordination
from console.backplane.redis_stream import RedisBackplane
from console.backplane.stream import Backplane, MemoryBackplane, order
from console.errors import BackplaneError, NotReaderError
from tests.support.patience import HANG_SECONDS, STORE_SECONDS

type Pair = tuple[Backplane, Coordination]


@pytest.fixture(params=["memory", "redis"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    if request.param == "memory":
        coordination = MemoryCoordination()
        yield MemoryBackplane(coordination, most=200, wait_seconds=0.05), coordination
        return
    settings = BreakerSettings(store_timeout_seconds=STORE_SECONDS)
    client = connect(request.getfixturevalue("redis_url"), settings)
    yield (
        RedisBackplane(client, "c", most=200, most_lines=50),
        RedisCoordination(client, "c", timeout_seconds=STORE_SECONDS),
    )
    await client.aclose()


async def test_messages_come_back_in_order_behind_a_cursor(pair: Pair) -> None:
    """Whatever the reader has seen, it gets exactly what came after."""
    backplane, _ = pair
    cursors = await backplane.publish([("tail", {"n": n}) for n in range(5)])
    assert cursors == sorted(cursors, key=order)
    everything = await backplane.latest(100)
    assert [each.data for each in everything] == [f'{{"n":{n}}}' for n in range(5)]
    assert [each.cursor for each in everything] == cursors
    assert await backplane.read(cursors[1], 100) == everything[2:]
    assert await backplane.read(cursors[1], 2) == everything[2:4]
    assert await backplane.read(cursors[-1], 100) == []
    assert await backplane.latest(2) == everything[3:]


async def test_a_reader_that_waits_gets_what_comes(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without asking again."""
    backplane, _ = pair
    monkeypatch.setattr(redis_stream, "WAIT_MS", round(500 * STORE_SECONDS))
    if isinstance(backplane, MemoryBackplane):
        backplane._wait = STORE_SECONDS / 2
    (first,) = await backplane.publish([("log", {"n": 0})])
    reading = asyncio.create_task(backplane.read(first, 10))
    await asyncio.sleep(0)
    (second,) = await backplane.publish([("log", {"n": 1})])
    assert [each.cursor for each in await reading] == [second]


async def test_text_of_any_kind_survives(pair: Pair) -> None:
    """A lone surrogate as well: an event's body may have brought it."""
    backplane, _ = pair
    said = {"text": '</script>\u2028 "é" \ud800 🚀'}
    await backplane.publish([("log", said)])
    (message,) = await backplane.latest(1)
    assert "\\ud800" in message.data
    assert message.kind == "log"


async def test_trimmed_messages_are_known_to_be_gone(pair: Pair) -> None:
    """The log's lines outlive them, under the same cursors."""
    backplane, _ = pair
    (line,) = await backplane.publish([("log", {"text": "first"})])
    assert await backplane.has(line)
    for _ in range(8):
        await backplane.publish([("tail", {"n": n}) for n in range(100)])
    assert not await backplane.has(line)
    left = await backplane.latest(10_000)
    assert 200 <= len(left) < 700
    assert [each.cursor for each in await backplane.log(left[0].cursor, 10)] == [line]
    assert await backplane.log(line, 10) == []


async def test_only_the_elected_reader_says_what_it_read(pair: Pair) -> None:
    """One that has lost the lease publishes nothing, and learns it."""
    backplane, coordination = pair
    assert await coordination.acquire(READER, "one", 60)
    await backplane.publish([("vitals", {})], reader="one")
    with pytest.raises(NotReaderError):
        await backplane.publish([("vitals", {})], reader="two")
    await coordination.release(READER, "one")
    with pytest.raises(NotReaderError):
        await backplane.publish([("vitals", {})], reader="one")
    assert len(await backplane.latest(10)) == 1


async def test_leases_are_one_holders(pair: Pair) -> None:
    """Until they are given back, or run out."""
    _, coordination = pair
    assert await coordination.holder("job") == ""
    assert await coordination.acquire("job", "one", 60)
    assert not await coordination.acquire("job", "two", 60)
    assert await coordination.acquire("job", "one", 60)
    await coordination.release("job", "two")
    assert await coordination.holder("job") == "one"
    await coordination.release("job", "one")
    assert await coordination.acquire("job", "two", 0.001)
    async with asyncio.timeout(HANG_SECONDS):
        while not await coordination.acquire("job", "one", 60):
            await asyncio.sleep(0.01)


async def test_marks_and_counts(pair: Pair) -> None:
    """A mark is anybody's; a count rises until its time is over, or somebody forgets it."""
    _, coordination = pair
    await coordination.mark("viewers", 60)
    await coordination.mark("viewers", 60)
    assert await coordination.holder("viewers")
    assert [await coordination.increment("login:x", 60) for _ in range(3)] == [1, 2, 3]
    assert await coordination.increment("login:y", 60) == 1
    await coordination.reset("login:x")
    assert await coordination.increment("login:x", 60) == 1
    await coordination.increment("brief", 1)
    async with asyncio.timeout(HANG_SECONDS):
        while await coordination.increment("brief", 1) > 1:
            await asyncio.sleep(0.05)


async def test_what_is_noted_stays_until_its_time(pair: Pair) -> None:
    """Each item until its own."""
    _, coordination = pair
    assert await coordination.members("ended") == {}
    later, soon = round(time.time()) + 3_600.5, time.time() + 0.3
    for item, until in (("a", later), ("b", soon), ("c", time.time() - 5), ("d", later + 1)):
        await coordination.add("ended", item, until)
    assert (await coordination.members("ended")).keys() - {"b"} == {"a", "d"}
    async with asyncio.timeout(HANG_SECONDS):
        while "b" in await coordination.members("ended"):
            await asyncio.sleep(0.05)
    assert await coordination.members("ended") == {"a": later, "d": later + 1}


async def test_many_names_cost_little() -> None:
    """Tries from many addresses: what is over goes, now and then."""
    now = [0.0]
    coordination = MemoryCoordination(lambda: now[0])
    for address in range(5_000):
        now[0] += 0.1
        await coordination.increment(f"login:{address}", 60)
    assert len(coordination._counts) <= 1_300


async def test_a_backplane_that_is_away_says_so() -> None:
    """With one error of its own."""
    client = connect("redis://127.0.0.1:1/0")
    backplane = RedisBackplane(client, "c")
    for act in (
        backplane.publish([("log", {})]),
        backplane.read("0-0", 1),
        backplane.latest(1),
        backplane.has("1-1"),
    ):
        with pytest.raises(BackplaneError, match="the backplane did not"):
            await act
    await client.aclose()
