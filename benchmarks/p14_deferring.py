"""P14, the throughput of a partition in which a part of the keys fails for good.

The processor is the deployed one on a real Redis. The events arrive at a fixed rate. Each batch has
the events that arrived during the previous batch, as with the Event Hubs trigger. A batch that
raises is delivered again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks import events
from benchmarks.context import Context
from benchmarks.result import Check, Result
from benchmarks.services import redis_server
from benchmarks.subject import processor
from processing.batch.processor import BatchProcessor
from processing.errors import DependencyUnavailableError, ProcessingError
from processing.event import Event
from processing.settings import ProcessingSettings

RATE = 1_000
SECONDS, QUICK_SECONDS = 60, 15
BATCH = 1_000
CALL_SECONDS = 0.001
FAILING_EVERY = 1_000
KEYS = 100
GOAL = 0.9
GRACE_SECONDS = 2.0
_TICK_SECONDS = 0.005
_BACK_OFF_SECONDS = 1.0


@dataclass(slots=True)
class Calls:
    """A handler that takes a millisecond, or fails for good.

    Attributes:
        fails: returns whether the event with a sequence number fails.
        handled: the number of handled events.
        failed: the number of failed attempts.
        longest_pause: the longest time between two handled events, in seconds.
        last_at: the time of the last handled event, by the monotonic clock.
    """

    fails: Callable[[int], bool]
    handled: int = 0
    failed: int = 0
    longest_pause: float = 0.0
    last_at: float = field(default_factory=time.monotonic)

    async def __call__(self, event: Event) -> None:
        """Handle one event."""
        await asyncio.sleep(CALL_SECONDS)
        if self.fails(event.sequence_number):
            self.failed += 1
            raise DependencyUnavailableError("the event's dependency is down")
        now = time.monotonic()
        self.longest_pause = max(self.longest_pause, now - self.last_at)
        self.last_at = now
        self.handled += 1


@dataclass(frozen=True, slots=True)
class Stream:
    """The figures of one stream of events.

    Attributes:
        per_second: handled events per second, until the last one was handled.
        longest_pause: the longest time between two handled events, in seconds.
        failed: the number of failed attempts.
        deferred: the number of events that were deferred in batches.
    """

    per_second: float
    longest_pause: float
    failed: int
    deferred: int


def no_event_fails(number: int) -> bool:
    """Return False."""
    del number
    return False


def one_in_a_thousand_fails(number: int) -> bool:
    """Return whether an event fails, if the keys do not repeat."""
    return number % FAILING_EVERY == FAILING_EVERY // 2


def first_key_fails(number: int) -> bool:
    """Return whether an event is of the first of `KEYS` keys."""
    return number % KEYS == 0


async def run(context: Context) -> Result:
    """Measure streams without failures, with one failing key of 1,000, and with one of 100."""
    seconds = context.scaled(SECONDS, QUICK_SECONDS)
    context.expect(3)
    total = RATE * seconds
    async with redis_server(context.directory) as url:
        found = {}
        for name, fails, keys in (
            ("healthy", no_event_fails, total),
            ("one_of_1000", one_in_a_thousand_fails, total),
            ("one_of_100", first_key_fails, KEYS),
        ):
            found[name] = await _measure(url, fails, total=total, keys=keys)
            context.advance()
    return result(found["healthy"], found["one_of_1000"], found["one_of_100"], seconds)


def result(healthy: Stream, failing: Stream, repeating: Stream, seconds: int) -> Result:
    """Return the result of the three streams."""
    settings = ProcessingSettings()
    others = 1 - 1 / FAILING_EVERY
    return Result(
        "P14",
        f"one failing event in {FAILING_EVERY:,}, keys that do not repeat, {RATE:,} events/s",
        (
            Check(
                "events per second of the others, with ÷ without failures",
                failing.per_second / (healthy.per_second * others),
                "≥",
                GOAL,
                "x",
            ),
            Check(
                f"one bad key of {KEYS}, longest pause of the partition",
                repeating.longest_pause,
                "≤",
                settings.defer_after_seconds + GRACE_SECONDS,
                "s",
            ),
        ),
        {
            "healthy_events_per_second": healthy.per_second,
            "others_events_per_second": failing.per_second,
            "others_longest_pause_seconds": failing.longest_pause,
            "one_of_100_others_events_per_second": repeating.per_second,
            "one_of_100_longest_pause_seconds": repeating.longest_pause,
            "healthy_longest_pause_seconds": healthy.longest_pause,
        },
        {
            "seconds": seconds,
            "call_seconds": CALL_SECONDS,
            "failed_attempts": failing.failed,
            "events_deferred_in_batches": failing.deferred,
            "one_of_100_failed_attempts": repeating.failed,
            "defer_after_seconds": settings.defer_after_seconds,
        },
    )


async def _measure(url: str, fails: Callable[[int], bool], *, total: int, keys: int) -> Stream:
    """Process a stream of `total` events on a new partition."""
    calls = Calls(fails)
    async with processor(url, calls) as subject:
        began = calls.last_at = time.monotonic()
        deferred = await _process(subject, began, total, keys)
        subject.stop()
        await subject.wait_idle()
    return Stream(
        calls.handled / (calls.last_at - began), calls.longest_pause, calls.failed, deferred
    )


async def _process(subject: BatchProcessor, began: float, total: int, keys: int) -> int:
    """Process the events as they arrive; return how many were deferred in batches."""
    source, first, deferred = events.new_source(), 0, 0
    while first < total:
        arrived = min(total, int((time.monotonic() - began) * RATE))
        count = min(BATCH, arrived - first)
        if not count:
            await asyncio.sleep(_TICK_SECONDS)
            continue
        batch = events.batch(source, first, count, keys)
        try:
            deferred += (await subject.process(batch)).deferred
        except ProcessingError:  # the host delivers the batch again
            await asyncio.sleep(_BACK_OFF_SECONDS)
        else:
            first += count
    return deferred
