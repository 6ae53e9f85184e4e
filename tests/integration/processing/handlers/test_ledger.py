"""The ledger handler on real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from local.services.ports import free_port
from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.handlers.ledger import LedgerHandler
from tests.support.patience import HANG_SECONDS
from tests.support.processing.events import SOURCE, event


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    # Any, because redis-py types replies as bytes or text, also with decode_responses.
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
async def ledger(redis_url: str) -> AsyncIterator[LedgerHandler]:
    handler = LedgerHandler.from_settings({"REDIS_URL": redis_url})
    yield handler
    await handler.aclose()


def counted(number: int, **properties: object) -> dict[str, object]:
    return {"run": "r", "counter": number, **properties}


async def test_events_are_appended_in_order(ledger: LedgerHandler, redis: Any) -> None:
    """Each line has the event's position and the time of the append."""
    for number in (1, 2):
        await ledger(event(number, "k", properties=counted(number)))
    lines = [line.split() for line in await redis.lrange("ledger:{r}:key:k", 0, -1)]
    assert [line[:4] for line in lines] == [
        ["1", "0", "1", "1700000000001"],
        ["2", "0", "2", "1700000000002"],
    ]
    seconds, microseconds = await redis.time()
    assert 0 <= seconds * 1_000_000 + microseconds - int(lines[0][4]) < 60_000_000


async def test_repeated_event_is_appended_once(ledger: LedgerHandler, redis: Any) -> None:
    """The ledger counts the suppressed repeats."""
    for _ in range(3):
        await ledger(event(1, "k", properties=counted(1)))
    assert await redis.llen("ledger:{r}:key:k") == 1
    assert await redis.get("ledger:{r}:suppressed") == "2"


async def test_event_without_a_run_has_the_run_of_its_pipeline(
    ledger: LedgerHandler, redis: Any
) -> None:
    """An empty run counts as no run. The run's name keeps the ledger's keys in one slot."""
    await ledger(event(1, "k", properties={"counter": 1}))
    await ledger(event(2, "k", properties={"counter": 2, "run": ""}))
    assert await redis.llen("ledger:{default}:key:k") == 2


async def test_two_pipelines_of_one_hub_have_a_ledger_each(
    ledger: LedgerHandler, redis: Any
) -> None:
    """Otherwise the second pipeline's events would look like the first one's, delivered again."""
    audit = replace(SOURCE, identity=replace(SOURCE.identity, pipeline="audit"))
    await ledger(event(1, "k"))
    await ledger(event(1, "k", source=audit))
    assert await redis.llen("ledger:{default}:key:k") == 1
    assert await redis.llen("ledger:{audit}:key:k") == 1


async def test_slow_event_is_appended_after_its_delay(ledger: LedgerHandler, redis: Any) -> None:
    slow = counted(1, simulate="slow", milliseconds=30)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await ledger(event(1, "k", properties=slow))
    assert loop.time() - began >= 0.029
    assert await redis.llen("ledger:{r}:key:k") == 1


async def test_hanging_event_succeeds_at_its_second_attempt(
    ledger: LedgerHandler, redis: Any
) -> None:
    """The cancelled first attempt leaves nothing in the ledger."""
    hanging = event(1, "k", properties=counted(1, simulate="hang", milliseconds=20_000))
    first = asyncio.create_task(ledger(hanging))
    async with asyncio.timeout(HANG_SECONDS):
        while not await redis.exists("ledger:{r}:hung"):
            await asyncio.sleep(0.01)
    assert not first.done()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await redis.llen("ledger:{r}:key:k") == 0
    began = asyncio.get_running_loop().time()
    await ledger(hanging)
    assert asyncio.get_running_loop().time() - began < 20, "it hung again"
    assert await redis.llen("ledger:{r}:key:k") == 1


async def test_event_of_a_recreated_hub_is_appended(ledger: LedgerHandler, redis: Any) -> None:
    """Sequence numbers start again in a recreated hub, but the events are others."""
    await ledger(event(1, "k", properties=counted(1)))
    await ledger(event(1, "k", properties=counted(2), enqueued_ms=1_800_000_000_000))
    assert await redis.llen("ledger:{r}:key:k") == 2


async def test_outage_refuses_events_and_records_each_refusal(
    ledger: LedgerHandler, redis: Any
) -> None:
    """No event is appended until the outage ends."""
    await redis.set("ledger:{r}:outage", "1")
    with pytest.raises(DependencyUnavailableError, match="refuses"):
        await ledger(event(5, "k", properties=counted(1)))
    assert await redis.exists("ledger:{r}:key:k") == 0
    (line,) = await redis.lrange("ledger:{r}:refused", 0, -1)
    assert line.split("\t")[:4] == ["k", "1", "0", "5"]
    await redis.delete("ledger:{r}:outage")
    await ledger(event(5, "k", properties=counted(1)))
    assert await redis.llen("ledger:{r}:key:k") == 1


async def test_outage_of_the_first_key_refuses_this_key_only(
    ledger: LedgerHandler, redis: Any
) -> None:
    """The script stores the first key that calls, which is refused until the outage ends."""
    await redis.set("ledger:{r}:outage", "first")
    for _ in range(2):
        with pytest.raises(DependencyUnavailableError, match="refuses"):
            await ledger(event(5, "k", properties=counted(1)))
    await ledger(event(6, "other", properties=counted(1)))
    assert await redis.get("ledger:{r}:outage") == "ledger:{r}:key:k"
    assert await redis.llen("ledger:{r}:key:other") == 1
    assert [
        line.partition("\t")[0] for line in await redis.lrange("ledger:{r}:refused", 0, -1)
    ] == [
        "k",
        "k",
    ]


async def test_outage_of_some_keys_refuses_these_keys_only(
    ledger: LedgerHandler, redis: Any
) -> None:
    """A key whose name is part of another key's name is no match."""
    await redis.set("ledger:{r}:outage", "keys:\nk-10\nk-2\n")
    for key in ("k-10", "k-2"):
        with pytest.raises(DependencyUnavailableError, match="refuses"):
            await ledger(event(5, key, properties=counted(1)))
    for key in ("k-1", "k", "keys:"):
        await ledger(event(6, key, properties=counted(1)))
        assert await redis.llen(f"ledger:{{r}}:key:{key}") == 1
    refused = [line.partition("\t")[0] for line in await redis.lrange("ledger:{r}:refused", 0, -1)]
    assert refused == ["k-10", "k-2"]


async def test_outage_of_a_dependency_refuses_the_events_that_need_it(
    ledger: LedgerHandler, redis: Any
) -> None:
    """An event that needs nothing, or another dependency, is appended."""
    await redis.set("ledger:{r}:outage", "needs:\nbank\n")
    with pytest.raises(DependencyUnavailableError, match="refuses"):
        await ledger(event(5, "k", properties=counted(1, needs="bank")))
    for number, needs in enumerate(("", "ban", "a b", 3), start=1):
        await ledger(event(number, "other", properties=counted(number, needs=needs)))
    assert await redis.lrange("ledger:{r}:refused", 0, -1) != []
    await redis.delete("ledger:{r}:outage")
    await ledger(event(5, "k", properties=counted(1, needs="bank")))
    lines = await redis.lrange("ledger:{r}:key:k", 0, -1)
    lines += await redis.lrange("ledger:{r}:key:other", 0, -1)
    assert [line.split(" ")[:4] for line in lines] == [
        ["1", "0", "5", "1700000000005"],
        *[[str(number), "0", str(number), f"170000000000{number}"] for number in range(1, 5)],
    ]


async def test_simulate_property_makes_an_event_fail(ledger: LedgerHandler) -> None:
    """The handler raises PoisonEventError or another error."""
    with pytest.raises(PoisonEventError):
        await ledger(event(1, properties={"simulate": "poison"}))
    with pytest.raises(RuntimeError, match="asked to fail"):
        await ledger(event(1, properties={"simulate": "error"}))


async def test_event_with_unusual_key_or_no_properties_is_appended(
    ledger: LedgerHandler, redis: Any
) -> None:
    """The event's line has the form of every other line."""
    await ledger(event(1, None))
    await ledger(event(2, "ключ \n {x}", properties={"run": "r"}))
    assert (await redis.lrange("ledger:{default}:key:", 0, -1))[0].startswith("-1 0 1 ")
    assert await redis.llen("ledger:{r}:key:ключ \n {x}") == 1


async def test_concurrent_events_open_no_further_connections(
    ledger: LedgerHandler, redis: Any
) -> None:
    """The calls of a hundred lanes share pipelines."""
    await ledger(event(0, "warm"))
    before = await clients_of(redis)
    await asyncio.gather(*(ledger(event(n, f"k{n}", properties=counted(n))) for n in range(1, 101)))
    assert len(await redis.keys("ledger:{r}:key:*")) == 100
    assert await clients_of(redis) <= before


async def clients_of(redis: Any) -> set[str]:
    """Return the ids of the connected clients.

    Clients of an earlier test may still be disconnecting.
    """
    return {client["id"] for client in await redis.client_list()}


async def test_all_ledger_keys_expire(ledger: LedgerHandler, redis: Any) -> None:
    """Every key has a time to live."""
    for _ in range(2):
        await ledger(event(1, "k", properties=counted(1)))
    await redis.set("ledger:{r}:outage", "1", ex=60)
    with pytest.raises(DependencyUnavailableError):
        await ledger(event(2, "k", properties=counted(2)))
    for key in await redis.keys():
        assert await redis.ttl(key) > 0


async def test_unreachable_redis_is_a_dependency_failure() -> None:
    """The event itself has not failed."""
    ledger = LedgerHandler.from_settings({"REDIS_URL": f"redis://127.0.0.1:{free_port()}"})
    with pytest.raises(DependencyUnavailableError, match="the ledger's Redis"):
        await ledger(event(1))
    await ledger.aclose()
