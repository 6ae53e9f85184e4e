"""The ledger handler on real Redis: exactly once, in order, and honest about refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from local.services.ports import free_port
from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.handlers.ledger import LedgerHandler
from tests.support.patience import HANG_SECONDS
from tests.support.processing.events import event


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    # Any: redis-py types replies as bytes or text whatever decode_responses says.
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
async def ledger(redis_url: str) -> AsyncIterator[LedgerHandler]:
    handler = LedgerHandler.from_settings({"REDIS_URL": redis_url})
    yield handler
    await handler.aclose()


def counted(number: int, **properties: object) -> dict[str, object]:
    return {"run": "r", "counter": number, **properties}


async def test_appends_in_order(ledger: LedgerHandler, redis: Any) -> None:
    """Each event is one line, with where it came from and when it was appended."""
    for number in (1, 2):
        await ledger(event(number, "k", properties=counted(number)))
    lines = [line.split() for line in await redis.lrange("ledger:{r}:key:k", 0, -1)]
    assert [line[:4] for line in lines] == [
        ["1", "0", "1", "1700000000001"],
        ["2", "0", "2", "1700000000002"],
    ]
    seconds, microseconds = await redis.time()
    assert 0 <= seconds * 1_000_000 + microseconds - int(lines[0][4]) < 60_000_000


async def test_twice_is_once(ledger: LedgerHandler, redis: Any) -> None:
    """An event that is delivered twice stands in the ledger once, and that is counted."""
    for _ in range(3):
        await ledger(event(1, "k", properties=counted(1)))
    assert await redis.llen("ledger:{r}:key:k") == 1
    assert await redis.get("ledger:{r}:suppressed") == "2"


async def test_every_event_has_a_run(ledger: LedgerHandler, redis: Any) -> None:
    """Without one, or with an empty one, it is the default: its name holds the keys together."""
    await ledger(event(1, "k", properties={"counter": 1}))
    await ledger(event(2, "k", properties={"counter": 2, "run": ""}))
    assert await redis.llen("ledger:{default}:key:k") == 2


async def test_a_slow_event_takes_its_time_and_is_appended(
    ledger: LedgerHandler, redis: Any
) -> None:
    slow = counted(1, simulate="slow", milliseconds=30)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await ledger(event(1, "k", properties=slow))
    assert loop.time() - began >= 0.029
    assert await redis.llen("ledger:{r}:key:k") == 1


async def test_an_event_hangs_only_the_first_time(ledger: LedgerHandler, redis: Any) -> None:
    """What was cut off while it hung has left nothing, and succeeds when it is tried again."""
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


async def test_same_number_of_another_hub(ledger: LedgerHandler, redis: Any) -> None:
    """A hub that was made again counts from zero; its events are others."""
    await ledger(event(1, "k", properties=counted(1)))
    await ledger(event(1, "k", properties=counted(2), enqueued_ms=1_800_000_000_000))
    assert await redis.llen("ledger:{r}:key:k") == 2


async def test_outage(ledger: LedgerHandler, redis: Any) -> None:
    """While the downstream is down nothing is appended, and each refusal is witnessed."""
    await redis.set("ledger:{r}:outage", "1")
    with pytest.raises(DependencyUnavailableError, match="refuses"):
        await ledger(event(5, "k", properties=counted(1)))
    assert await redis.exists("ledger:{r}:key:k") == 0
    (line,) = await redis.lrange("ledger:{r}:refused", 0, -1)
    assert line.split("\t")[:4] == ["k", "1", "0", "5"]
    await redis.delete("ledger:{r}:outage")
    await ledger(event(5, "k", properties=counted(1)))
    assert await redis.llen("ledger:{r}:key:k") == 1


async def test_events_that_ask_to_fail(ledger: LedgerHandler) -> None:
    """`simulate` makes an event poison or failing."""
    with pytest.raises(PoisonEventError):
        await ledger(event(1, properties={"simulate": "poison"}))
    with pytest.raises(RuntimeError, match="asked to fail"):
        await ledger(event(1, properties={"simulate": "error"}))


async def test_odd_events(ledger: LedgerHandler, redis: Any) -> None:
    """No key, no properties, any characters: a line like the others."""
    await ledger(event(1, None))
    await ledger(event(2, "ключ \n {x}", properties={"run": "r"}))
    assert (await redis.lrange("ledger:{default}:key:", 0, -1))[0].startswith("-1 0 1 ")
    assert await redis.llen("ledger:{r}:key:ключ \n {x}") == 1


async def test_many_keys_share_pipelines(ledger: LedgerHandler, redis: Any) -> None:
    """A hundred lanes at once cost few round trips."""
    await ledger(event(0, "warm"))
    before = await clients_of(redis)
    await asyncio.gather(*(ledger(event(n, f"k{n}", properties=counted(n))) for n in range(1, 101)))
    assert len(await redis.keys("ledger:{r}:key:*")) == 100
    assert await clients_of(redis) <= before


async def clients_of(redis: Any) -> set[str]:
    """Who is connected; some may still be on the way out from another test."""
    return {client["id"] for client in await redis.client_list()}


async def test_keys_expire(ledger: LedgerHandler, redis: Any) -> None:
    """No ledger stays for ever."""
    for _ in range(2):
        await ledger(event(1, "k", properties=counted(1)))
    await redis.set("ledger:{r}:outage", "1", ex=60)
    with pytest.raises(DependencyUnavailableError):
        await ledger(event(2, "k", properties=counted(2)))
    for key in await redis.keys():
        assert await redis.ttl(key) > 0


async def test_unreachable_redis() -> None:
    """The ledger's Redis being down is the dependency's failure, not the event's."""
    ledger = LedgerHandler.from_settings({"REDIS_URL": f"redis://127.0.0.1:{free_port()}"})
    with pytest.raises(DependencyUnavailableError, match="the ledger's Redis"):
        await ledger(event(1))
    await ledger.aclose()
