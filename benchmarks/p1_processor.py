"""P1, the cost of processing per event, compared with the original's loop."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from redis.asyncio import Redis

from benchmarks import events
from benchmarks.commands import counted
from benchmarks.context import Context
from benchmarks.handlers import no_op
from benchmarks.measuring import interleaved, medians, spread
from benchmarks.peers.original import OriginalLoop
from benchmarks.result import Check, Result
from benchmarks.services import redis_server
from benchmarks.subject import processor
from breaker import BreakerSettings
from processing.batch.processor import BatchProcessor
from processing.event import Event, EventBatch
from processing.settings import ProcessingSettings

KEYS = 100
BATCH = 1_000
NEVER = 1_000_000
FAILING_EVERY = 100

OURS = "breakwater_us_per_event"
RELAXED = "breakwater_relaxed_us_per_event"
ORIGINAL = "original_us_per_event"
ORIGINAL_BARE = "original_without_redis_us_per_event"
OURS_FAILING = "breakwater_1_in_100_fails_us_per_event"
ORIGINAL_FAILING = "original_1_in_100_fails_us_per_event"


async def run(context: Context) -> Result:
    """Measure batches of 1,000 events over 100 keys with a no-op handler and real Redis."""
    rounds = context.scaled(9, 2)
    async with redis_server(context.directory) as url:
        async with _contenders(url, context) as contenders:
            context.expect(len(contenders) * (rounds + 1) + 1)
            measured = await interleaved(contenders, rounds, context.advance)
        commands = await _commands(url)
        context.advance()
    found = medians(measured)
    return Result(
        "P1",
        "BatchProcessor, no-op handler, batches of 1,000 events over 100 keys",
        (
            Check("the original's loop ÷ breakwater", found[ORIGINAL] / found[OURS], "≥", 27, "x"),
            Check(
                "breakwater ÷ the original's loop without its Redis calls",
                found[OURS] / found[ORIGINAL_BARE],
                "≤",
                0.16,
                "x",
            ),
        ),
        found,
        {
            "rounds": rounds,
            "best": {name: min(values) for name, values in measured.items()},
            "spread": {name: spread(values) for name, values in measured.items()},
            "progress_mode": "strict (the default)",
            "redis_commands": commands,
            "original": "one RPUSH and one tenacity policy per event, as in the sample; failures "
            "also need a transaction on a sorted set",
        },
    )


@asynccontextmanager
async def _contenders(
    url: str, context: Context
) -> AsyncIterator[dict[str, Callable[[], Awaitable[float]]]]:
    many, few = context.scaled(20, 2) * BATCH, BATCH
    # Count failures without opening the circuit, and retry without a pause as the sample does.
    patient = BreakerSettings(name="failing", failure_threshold=NEVER)
    at_once = ProcessingSettings(retry_initial_seconds=0, retry_max_seconds=0)
    async with AsyncExitStack() as opened:
        strict = await opened.enter_async_context(processor(url, no_op))
        relaxed = await opened.enter_async_context(
            processor(url, no_op, ProcessingSettings(progress_mode="relaxed"))
        )
        failing = await opened.enter_async_context(processor(url, _fail_some, at_once, patient))
        client = await opened.enter_async_context(Redis.from_url(url))
        original = OriginalLoop(client, no_op)
        bare = OriginalLoop(client, no_op, pushes=False)
        original_failing = OriginalLoop(client, _fail_some, threshold=NEVER)
        yield {
            OURS: _timed(strict.process, many),
            RELAXED: _timed(relaxed.process, many),
            ORIGINAL: _timed(original.process, few),
            ORIGINAL_BARE: _timed(bare.process, few),
            OURS_FAILING: _timed(failing.process, few),
            ORIGINAL_FAILING: _timed(original_failing.process, few),
        }


async def _commands(url: str) -> dict[str, float]:
    """Return the commands that clients send to Redis per batch, and per failed event."""
    unpolled = BreakerSettings(name="counted", failure_threshold=NEVER, poll_seconds=300)
    modes = {
        "strict_batch_of_1000": ProcessingSettings(),
        "relaxed_batch_of_1000": ProcessingSettings(progress_mode="relaxed"),
    }
    at_once = ProcessingSettings(retry_initial_seconds=0, retry_max_seconds=0, max_lanes=KEYS)
    found: dict[str, float] = {}
    async with Redis.from_url(url) as admin:
        for name, settings in modes.items():
            async with processor(url, no_op, settings, unpolled) as subject:
                found[name] = (await counted(admin, _one_batch(subject))).total_sent
        async with processor(url, _fail_some, at_once, unpolled) as subject:
            more = (await counted(admin, _one_batch(subject))).total_sent
    found["failed_event"] = (more - found["strict_batch_of_1000"]) / (BATCH / FAILING_EVERY)
    return found


def _one_batch(subject: BatchProcessor) -> Callable[[], Awaitable[object]]:
    (batch,) = events.batches(events.new_source(), BATCH, size=BATCH, keys=KEYS)
    return lambda: subject.process(batch)


def _timed(
    process: Callable[[EventBatch], Awaitable[object]], count: int
) -> Callable[[], Awaitable[float]]:
    """Return a contender for the microseconds per event, without the time to make the events."""

    async def measure() -> float:
        source = events.new_source()
        batches: Iterable[EventBatch] = list(events.batches(source, count, size=BATCH, keys=KEYS))
        started = time.perf_counter()
        for batch in batches:
            await process(batch)
        return (time.perf_counter() - started) / count * 1e6

    return measure


async def _fail_some(event: Event) -> None:
    # Fail ten events of each batch, on ten different keys.
    if (event.sequence_number + event.sequence_number // KEYS) % FAILING_EVERY == 0:
        raise RuntimeError("the sample's SystemException")
