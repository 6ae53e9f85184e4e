"""P2, the benchmark of the Confluent Parallel Consumer, with waiting handlers and many keys."""

from __future__ import annotations

import asyncio
import random
import selectors
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from benchmarks import events
from benchmarks.context import Context
from benchmarks.measuring import interleaved, medians, spread
from benchmarks.peers.original import concurrently
from benchmarks.result import Check, Result
from benchmarks.schedule import ideal_seconds, lane_by_lane_seconds
from benchmarks.services import redis_server
from benchmarks.subject import processor
from processing.event import Event
from processing.settings import ProcessingSettings

EVENTS, KEYS, LANES = 10_000, 1_000, 100
LONGEST_SECONDS = 0.005
HOST_BATCH = 1_000

OURS = "breakwater_seconds"
RELAXED = "breakwater_relaxed_seconds"
BATCHED = "breakwater_in_batches_of_1000_seconds"
BARE = "bare_lanes_seconds"
SEQUENTIAL = "sequential_seconds"


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop with exact timers; the default (epoll) rounds up to milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


class Sleeper:
    """A handler that sleeps a known 0 to 5 ms and counts events out of order."""

    def __init__(self, count: int) -> None:
        rng = random.Random(20)  # noqa: S311 - a workload, no secret
        self.seconds = [rng.uniform(0, LONGEST_SECONDS) for _ in range(count)]
        self.handled = 0
        self.disordered = 0
        self._last: dict[tuple[str, str | None], int] = {}

    async def __call__(self, event: Event) -> None:
        """Sleep for the event's duration."""
        place = (event.partition, event.key)
        if self._last.get(place, -1) >= event.sequence_number:
            self.disordered += 1
        self._last[place] = event.sequence_number
        await asyncio.sleep(self.seconds[event.sequence_number])
        self.handled += 1


async def run(context: Context) -> Result:
    """Measure 10,000 events over 1,000 keys with 100 lanes and a handler that sleeps 0 to 5 ms."""
    count = context.scaled(EVENTS, EVENTS // 5)
    keys = context.scaled(KEYS, KEYS // 5)
    rounds = context.scaled(7, 2)
    sleeper = Sleeper(count)
    work = [(number % keys, seconds) for number, seconds in enumerate(sleeper.seconds)]
    ideal = ideal_seconds(work, LANES)
    async with (
        redis_server(context.directory) as url,
        _contenders(url, sleeper, keys) as contenders,
    ):
        context.expect(len(contenders) * (rounds + 1) + rounds)
        measured = await interleaved(contenders, rounds, context.advance)
        on_default = [
            await asyncio.to_thread(_on_the_default_loop, url, sleeper, keys, context.advance)
            for _ in range(rounds)
        ]
    found = medians(measured)
    return Result(
        "P2",
        f"{count:,} events, {keys:,} keys, {LANES} lanes, handler sleeping 0 to 5 ms",
        (
            Check("sequential ÷ breakwater", found[SEQUENTIAL] / found[OURS], "≥", 60, "x"),
            Check("breakwater ÷ the ideal schedule", found[OURS] / ideal, "≤", 1.35, "x"),
        ),
        found,
        {
            "rounds": rounds,
            "ideal_seconds": ideal,
            "ideal_lane_by_lane_seconds": lane_by_lane_seconds(work, LANES),
            "relaxed_to_ideal": found[RELAXED] / ideal,
            "bare_lanes_to_ideal": found[BARE] / ideal,
            "order_violations": sleeper.disordered,
            "spread": {name: spread(values) for name, values in measured.items()},
            "sequential": "estimated from a random sample per round, as the sleeps of all events "
            "plus the overhead of the sample's calls",
            "timers": "exact to microseconds (select); default_loop_seconds has the times on the "
            "default event loop, whose timers round up to milliseconds",
            "default_loop_seconds": medians(
                {name: [each[name] for each in on_default] for name in on_default[0]}
            ),
        },
    )


@asynccontextmanager
async def _contenders(
    url: str, sleeper: Sleeper, keys: int
) -> AsyncIterator[dict[str, Callable[[], Awaitable[float]]]]:
    count = len(sleeper.seconds)
    async with AsyncExitStack() as opened:
        strict = await opened.enter_async_context(
            processor(url, sleeper, ProcessingSettings(max_lanes=LANES))
        )
        relaxed = await opened.enter_async_context(
            processor(url, sleeper, ProcessingSettings(max_lanes=LANES, progress_mode="relaxed"))
        )

        async def bare() -> float:
            return await _seconds(
                concurrently(events.batch(events.new_source(), 0, count, keys), sleeper, LANES)
            )

        async def batched() -> float:
            batches = events.batches(events.new_source(), count, size=HOST_BATCH, keys=keys)
            return sum([await _seconds(strict.process(batch)) for batch in list(batches)])

        yield {
            OURS: lambda: _whole_batch(strict.process, count, keys),
            RELAXED: lambda: _whole_batch(relaxed.process, count, keys),
            BATCHED: batched,
            BARE: bare,
            SEQUENTIAL: lambda: _sequential(sleeper, keys),
        }


async def _whole_batch(process: Callable[..., Awaitable[object]], count: int, keys: int) -> float:
    return await _seconds(process(events.batch(events.new_source(), 0, count, keys)))


async def _sequential(sleeper: Sleeper, keys: int) -> float:
    """Return the seconds that all events take sequentially, estimated from a sample."""
    count = len(sleeper.seconds)
    every = events.batch(events.new_source(), 0, count, keys).events
    sample = sorted(random.sample(range(count), 200))

    async def one_by_one() -> None:
        for number in sample:
            await sleeper(every[number])

    beyond = await _seconds(one_by_one()) - sum(sleeper.seconds[number] for number in sample)
    return sum(sleeper.seconds) + beyond / len(sample) * count


def _on_the_default_loop(
    url: str, sleeper: Sleeper, keys: int, advance: Callable[[], None]
) -> dict[str, float]:
    async def both() -> dict[str, float]:
        async with _contenders(url, sleeper, keys) as contenders:
            return {name: await contenders[name]() for name in (OURS, RELAXED, BARE)}

    found = asyncio.run(both())
    advance()
    return found


async def _seconds(work: Awaitable[object]) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started
