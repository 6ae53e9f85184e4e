"""The original's loop, in Python: Jeff Hollan's C# sample of reliable event processing.

A port for comparison, as close as Python allows: events of a batch one after another; Polly's
`RetryAsync(3)` without a pause as a tenacity policy made for each event, as the sample makes
its own; the sample's work, a Redis RPUSH per event; on exhaustion the body to a queue and the
failure into a sorted set whose member is the clock's tick, in a transaction that is void when the
circuit is open. Nothing is left out or made slower; the client is the one that Breakwater uses.
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
    """Processes batches as the sample does.

    Args:
        redis: a client; stays the caller's to close.
        work: what an event takes besides the sample's own RPUSH.
        pushes: whether to do that RPUSH; without it the loop costs no Redis on the healthy path.
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
        self._redis: Any = redis  # its commands are typed as "sync or async" throughout
        self._work = work
        self._pushes = pushes
        self._threshold = threshold
        self.dead_letters: list[str] = []

    async def process(self, batch: EventBatch) -> None:
        """Every event of the batch, one after another."""
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
        """Count a failure; open the circuit if it is one too many."""
        failures = await self._unless_open(self._add)
        if failures is not None and failures[-1] >= self._threshold:
            await self._unless_open(self._open)

    async def _unless_open(self, fill: Callable[[Any], None]) -> list[Any] | None:
        """A transaction on condition that no circuit is open; its replies."""
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
    """The clock in ticks of 100 ns, as .NET counts them: simultaneous failures share one."""
    return time.time_ns() // 100


async def sequentially(batch: EventBatch, work: Callable[[Event], Awaitable[None]]) -> None:
    """The bare loop: nothing but the work, one event after another."""
    for event in batch.events:
        await work(event)


async def concurrently(
    batch: EventBatch, work: Callable[[Event], Awaitable[None]], lanes: int
) -> None:
    """The bare lanes: nothing but the work, keys side by side, a key's events in order."""
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
