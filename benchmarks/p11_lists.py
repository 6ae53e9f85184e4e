"""P11, a list handler with one bulk call per list, compared with one call per event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from redis.asyncio import Redis

from benchmarks import events
from benchmarks.commands import counted
from benchmarks.context import Context
from benchmarks.measuring import interleaved, medians, spread
from benchmarks.result import Check, Result
from benchmarks.services import redis_server
from benchmarks.subject import processor
from breaker import BreakerSettings
from processing.batch.processor import BatchProcessor
from processing.errors import PoisonEventError
from processing.event import Event
from processing.settings import ProcessingSettings

KEYS, BATCH = 10, 1_000
CALL_SECONDS = 0.001
SHORT = 100
NEVER = 1_000_000

LISTS = "lists_us_per_event"
SHORT_LISTS = f"lists_of_{SHORT}_us_per_event"
FAILING = "lists_1_of_1000_poison_us_per_event"
EACH = "one_call_per_event_us_per_event"


async def run(context: Context) -> Result:
    """Measure batches of 1,000 events of 10 keys, with calls of 1 ms and real Redis."""
    rounds = context.scaled(7, 2)
    async with redis_server(context.directory) as url:
        async with _contenders(url, context) as contenders:
            context.expect(len(contenders) * (rounds + 1))
            measured = await interleaved(contenders, rounds, context.advance)
        commands = await _commands(url)
    found = medians(measured)
    return Result(
        "P11",
        "list handler, one call of 1 ms per list, batches of 1,000 events of 10 keys",
        (Check("one call per event ÷ lists", found[EACH] / found[LISTS], "≥", 20, "x"),),
        found,
        {
            "rounds": rounds,
            "spread": {name: spread(values) for name, values in measured.items()},
            "one_call_per_event": "the same processor, with a handler of one event: ten keys are "
            "called at the same time",
            "redis_commands_per_batch": commands,
        },
    )


@asynccontextmanager
async def _contenders(
    url: str, context: Context
) -> AsyncIterator[dict[str, Callable[[], Awaitable[float]]]]:
    many = context.scaled(10, 2)
    patient = BreakerSettings(name="patient", failure_threshold=NEVER)
    async with AsyncExitStack() as opened:
        lists = await opened.enter_async_context(processor(url, _bulk_call))
        short = await opened.enter_async_context(
            processor(url, _bulk_call, ProcessingSettings(batch_handler_events=SHORT))
        )
        failing = await opened.enter_async_context(
            processor(url, _fail_one, ProcessingSettings(), patient)
        )
        each = await opened.enter_async_context(processor(url, _call))
        yield {
            LISTS: _timed(lists, many),
            SHORT_LISTS: _timed(short, many),
            FAILING: _timed(failing, many),
            EACH: _timed(each, 1),
        }


async def _commands(url: str) -> dict[str, int]:
    """Return the commands that clients send to Redis for one batch."""
    unpolled = BreakerSettings(name="counted", poll_seconds=300)
    async with (
        Redis.from_url(url) as admin,
        processor(url, _bulk_call, ProcessingSettings(), unpolled) as subject,
    ):
        (batch,) = events.batches(events.new_source(), BATCH, size=BATCH, keys=KEYS)
        return {"lists": (await counted(admin, lambda: subject.process(batch))).total_sent}


def _timed(subject: BatchProcessor, batches: int) -> Callable[[], Awaitable[float]]:
    """Return a contender for the microseconds per event, without the time to make the events."""

    async def measure() -> float:
        count = batches * BATCH
        made = list(events.batches(events.new_source(), count, size=BATCH, keys=KEYS))
        started = time.perf_counter()
        for batch in made:
            await subject.process(batch)
        return (time.perf_counter() - started) / count * 1e6

    return measure


async def _bulk_call(_events: list[Event]) -> None:
    await asyncio.sleep(CALL_SECONDS)


async def _call(_event: Event) -> None:
    await asyncio.sleep(CALL_SECONDS)


async def _fail_one(events: list[Event]) -> None:
    # The middle event of each batch is poison, which the call sees at its end.
    await asyncio.sleep(CALL_SECONDS)
    if any(event.sequence_number % BATCH == BATCH // 2 for event in events):
        raise PoisonEventError("the middle event")
