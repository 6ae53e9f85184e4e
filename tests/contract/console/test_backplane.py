"""Contract of backplane and coordination, checked in memory and on Redis."""

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


async def test_read_returns_the_messages_after_a_cursor_in_order(pair: Pair) -> None:
    """The reader gets exactly the messages after its cursor."""
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


async def test_waiting_read_returns_a_new_message(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same call of `read` returns the message."""
    backplane, _ = pair
    monkeypatch.setattr(redis_stream, "WAIT_MS", round(500 * STORE_SECONDS))
    if isinstance(backplane, MemoryBackplane):
        backplane._wait = STORE_SECONDS / 2
    (first,) = await backplane.publish([("log", {"n": 0})])
    reading = asyncio.create_task(backplane.read(first, 10))
    await asyncio.sleep(0)
    (second,) = await backplane.publish([("log", {"n": 1})])
    assert [each.cursor for each in await reading] == [second]


async def test_any_text_is_kept(pair: Pair) -> None:
    """An event's body may bring a lone surrogate, which the message keeps."""
    backplane, _ = pair
    line = {"text": '</script>\u2028 "é" \ud800 🚀'}
    await backplane.publish([("log", line)])
    (message,) = await backplane.latest(1)
    assert "\\ud800" in message.data
    assert message.kind == "log"


async def test_trimmed_message_is_reported_as_missing(pair: Pair) -> None:
    """The log keeps its lines longer, under the same cursors."""
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


async def test_only_the_lease_holder_publishes_as_reader(pair: Pair) -> None:
    """An instance that lost the lease publishes nothing and gets `NotReaderError`."""
    backplane, coordination = pair
    assert await coordination.acquire(READER, "one", 60)
    await backplane.publish([("vitals", {})], reader="one")
    with pytest.raises(NotReaderError):
        await backplane.publish([("vitals", {})], reader="two")
    await coordination.release(READER, "one")
    with pytest.raises(NotReaderError):
        await backplane.publish([("vitals", {})], reader="one")
    assert len(await backplane.latest(10)) == 1


async def test_lease_has_one_holder(pair: Pair) -> None:
    """Another token acquires the lease only after a release or the expiry."""
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


async def test_marks_are_shared_and_counters_expire(pair: Pair) -> None:
    """Any instance may set a mark; a counter rises until it expires or is reset."""
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


async def test_set_item_stays_until_it_expires(pair: Pair) -> None:
    """Each item has its own expiry."""
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


async def test_expired_counters_are_dropped() -> None:
    """Login attempts from many addresses do not fill the memory."""
    now = [0.0]
    coordination = MemoryCoordination(lambda: now[0])
    for address in range(5_000):
        now[0] += 0.1
        await coordination.increment(f"login:{address}", 60)
    assert len(coordination._counts) <= 1_300


async def test_unavailable_redis_raises_backplane_error() -> None:
    """Every method raises the same type of error."""
    client = connect("redis://127.0.0.1:1/0")
    backplane = RedisBackplane(client, "c")
    for act in (
        backplane.publish([("log", {})]),
        backplane.read("0-0", 1),
        backplane.latest(1),
        backplane.has("1-1"),
    ):
        with pytest.raises(BackplaneError, match=r"cannot (publish to|read) the backplane"):
            await act
    await client.aclose()
