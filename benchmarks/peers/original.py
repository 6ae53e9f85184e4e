"""The original's loop, a Python port of Jeff Hollan's C# sample of reliable event processing.

The port is as close to the sample as Python allows and uses Breakwater's Redis client:

- The events of a batch are processed sequentially, with one Redis RPUSH per event as the work.
- A tenacity policy per event replaces Polly's `RetryAsync(3)` without a pause.
- After the last attempt the body goes to a queue, and the failure goes into a sorted set whose
  member is the clock's tick. The transaction does nothing while the circuit is open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import WatchError
from tenacity import AsyncRetrying, RetryCallState, RetryError, stop_after_attempt

from processing.event import Event, EventBatch

FAILURE_SECONDS = 10
FAILURE_THRESHOLD = 50
TICKS_PER_SECOND = 10_000_000
_WORK = "events:"


class OriginalLoop:
    """The sample's loop over batches.

    Args:
        redis: a client, which the caller closes.
        work: the work per event besides the sample's RPUSH.
        pushes: whether to make the RPUSH; otherwise healthy events send no Redis command.
        threshold: failures within `FAILURE_SECONDS` that open the circuit.
    """

    def __init__(
        self,
        redis: Redis,
        work: Callable[[Event], Awaitable[None]],
        *,
        pushes: bool = True,
        threshold: int = FAILURE_THRESHOLD,
    ) -> None:
        self._redis: Any = redis  # redis-py types its commands as "sync or async"
        self._work = work
        self._pushes = pushes
        self._threshold = threshold
        self.dead_letters: list[str] = []

    async def process(self, batch: EventBatch) -> None:
        """Process the events of the batch sequentially."""
        for event in batch.events:
            await self._one(event)

    async def _one(self, event: Event) -> None:
        key, counter = f"{_WORK}{event.key}", str(event.properties["counter"])

        async def caught(state: RetryCallState) -> None:
            if self._pushes:
                await self._redis.rpush(key, f"{counter}CAUGHT{state.attempt_number}")

        async def execute() -> None:
            await self._work(event)
            if self._pushes:
                await self._redis.rpush(key, counter)

        policy = AsyncRetrying(stop=stop_after_attempt(1 + 3), before_sleep=caught)
        try:
            await policy(execute)
        except RetryError:
            self.dead_letters.append(event.body.decode("utf-8", "replace"))
            await self.log_failure()
            if self._pushes:
                await self._redis.rpush(key, f"{counter}FAILED")

    async def log_failure(self) -> None:
        """Count a failure, and open the circuit at the threshold."""
        failures = await self._unless_open(self._add)
        if failures is not None and failures[-1] >= self._threshold:
            await self._unless_open(self._open)

    async def _unless_open(self, fill: Callable[[Any], None]) -> list[Any] | None:
        """Run a transaction unless the circuit is open; return its replies, or None if open."""
        async with self._redis.pipeline(transaction=True) as transaction:
            await transaction.watch("break")
            if await transaction.exists("break"):
                return None
            transaction.multi()
            fill(transaction)
            try:
                replies: list[Any] = await transaction.execute()
            except WatchError:
                return None
            return replies

    @staticmethod
    def _add(transaction: Any) -> None:
        now = ticks()
        transaction.zremrangebyscore("failures", "-inf", now - FAILURE_SECONDS * TICKS_PER_SECOND)
        transaction.zadd("failures", {str(now): now})
        transaction.expire("failures", FAILURE_SECONDS)
        transaction.zcard("failures")

    @staticmethod
    def _open(transaction: Any) -> None:
        transaction.rpush("break_log", f"FAILURE TRIGGERED AT {time.ctime()}")
        transaction.set("break", "true")


def ticks() -> int:
    """Return the time in .NET ticks of 100 ns; simultaneous failures have the same tick."""
    return time.time_ns() // 100


async def sequentially(batch: EventBatch, work: Callable[[Event], Awaitable[None]]) -> None:
    """Run the bare loop, which only does the work, event after event."""
    for event in batch.events:
        await work(event)


async def concurrently(
    batch: EventBatch, work: Callable[[Event], Awaitable[None]], lanes: int
) -> None:
    """Run the bare lanes, which do the work of several keys concurrently and in order per key."""
    of_key: dict[str | None, list[Event]] = {}
    for event in batch.events:
        of_key.setdefault(event.key, []).append(event)
    waiting = iter(of_key.values())

    async def lane() -> None:
        for events in waiting:
            for event in events:
                await work(event)

    async with asyncio.TaskGroup() as group:
        for _ in range(lanes):
            group.create_task(lane())
