"""The marks of producers' copies in Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from processing.batch.processor import BatchProcessor
from processing.event import Event
from processing.handlers.loading import load_handler
from processing.parking.batch import Parking
from processing.parking.redis import RedisParkingStore
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.progress.redis import RedisProgressStore, progress_keys, sent_key
from processing.progress.store import Mark, SentMark, SentMarks
from processing.settings import ProcessingSettings
from tests.support.processing.events import SOURCE, batch, event


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


def sent(**marks: int) -> SentMarks:
    return SentMarks([SentMark(each, ms) for each, ms in marks.items()], 1000)


async def test_marks_from_before_a_reset_by_an_older_version_do_not_count(redis: Redis) -> None:
    """An older version resets the progress and leaves the marks, which it does not know."""
    store = RedisProgressStore(redis, ttl_seconds=100)
    await store.commit(SOURCE, 0, Mark(1, 10), [], sent(a=10, b=20))
    kept = await redis.dump(sent_key(SOURCE))
    assert kept is not None
    fresh = (await store.reset(SOURCE)).owner
    await redis.restore(sent_key(SOURCE), 0, kept)
    assert await store.sent(SOURCE, ["a"]) == {}
    await store.commit(SOURCE, fresh, None, [], sent(c=30))
    assert await store.sent(SOURCE, ["a", "b", "c"]) == {"c": 30}


async def test_reset_frees_the_memory_of_the_marks(redis: Redis) -> None:
    """A recreated hub may never get an event with an id."""
    store = RedisProgressStore(redis, ttl_seconds=100)
    await store.commit(SOURCE, 0, Mark(1, 10), [], sent(a=10))
    await store.reset(SOURCE)
    assert await redis.exists(sent_key(SOURCE)) == 0


async def test_marks_without_the_progress_do_not_count(redis: Redis) -> None:
    """A Redis that evicts keys may have lost the watermark alone."""
    store = RedisProgressStore(redis, ttl_seconds=100)
    await store.commit(SOURCE, 0, Mark(1, 10), [], sent(a=10))
    await redis.delete(progress_keys(SOURCE)[0])
    assert await store.sent(SOURCE, ["a"]) == {}


async def test_marks_expire_with_the_progress(redis: Redis) -> None:
    """An idle partition leaves nothing."""
    store = RedisProgressStore(redis, ttl_seconds=100)
    await store.commit(SOURCE, 0, Mark(1, 10), [], sent(a=10))
    assert 0 < await redis.ttl(sent_key(SOURCE)) <= 100


async def test_copies_cost_one_command_for_each_batch_and_none_when_off(redis: Redis) -> None:
    """The marks are read with one command, and written by the script that writes the progress."""
    handled: list[int] = []

    async def handle(each: Event) -> None:
        handled.append(each.sequence_number)

    async def commands(settings: ProcessingSettings, first: int) -> dict[str, int]:
        store = MemoryCircuitStore("app")
        async with CircuitBreaker(store, BreakerSettings()) as breaker:
            processor = BatchProcessor(
                load_handler(handle, {}),
                breaker=breaker,
                progress=RedisProgressStore(redis, ttl_seconds=1000),
                poison=MemoryPoisonQueue(),
                parking=Parking(
                    RedisParkingStore(
                        redis,
                        identity=SOURCE.identity,
                        ttl_seconds=1000,
                        most=10,
                        most_events=10,
                        most_bytes=2**20,
                    ),
                    MemoryClaimChecks(),
                ),
                settings=settings,
            )
            events = [
                event(number, f"k{number // 2}", properties={"id": str(number // 2)})
                for number in range(first, first + 200)
            ]
            await processor.process(batch(events))  # the scripts are loaded
            await redis.config_resetstat()
            later = [
                event(number + 200, each.key, properties=each.properties)
                for number, each in enumerate(events, first)
            ]
            await processor.process(batch(later))
        found = await redis.info("commandstats")
        return {
            name.removeprefix("cmdstat_"): each["calls"]
            for name, each in found.items()
            if name in {"cmdstat_zmscore", "cmdstat_evalsha", "cmdstat_multi"}
        }

    off = await commands(ProcessingSettings(), 0)
    assert len(handled) == 400
    handled.clear()
    on = await commands(ProcessingSettings(dedupe_property="id"), 1000)
    assert handled == [1000 + 2 * number for number in range(100)]
    # 200 copies cost one question, and one commit beside the claim.
    assert (on["zmscore"], on["multi"], on["evalsha"]) == (1, 1, 2)
    assert off.keys() == {"evalsha"}
