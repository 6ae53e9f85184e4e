"""P13, the time from the start of an outage until the circuit opens, at default settings.

The case with a hundred keys is an outage under load, whose batches have all keys, so that the count
rule opens the circuit. In the other cases so few events are in flight that only the standstill rule
can open the circuit.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient
from redis.asyncio import Redis

from benchmarks.context import Context
from benchmarks.measuring import interleaved, medians
from benchmarks.result import Check, Result
from benchmarks.services import HUB, ChildError, functions_host, log_tail, stack
from breaker import BreakerSettings
from loadtest.target.keys import Keys

ROUNDS = 3
GROUP = "outage"
BACKLOG, PER_BATCH = 400, 5
TICK_SECONDS = 0.5
HEALTHY_SECONDS = 20.0
"""The time for which events succeed before the outage, so that the rule knows their usual gap."""
START_SECONDS = 60.0
NEVER = 2.0
"""A circuit that is still closed after this many times the goal counts as opened then."""
COUNT_SECONDS, GRACE_SECONDS = 5.0, 5.0
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Case:
    """The events of one measurement.

    Attributes:
        name: the name in the medians.
        keys: the keys; None is an event without a key.
        limit: the longest time to open that meets the goal.
        backlog: the number of events of each key that wait for the host; 0: one event of each key
            arrives at each tick.
    """

    name: str
    keys: tuple[str | None, ...]
    limit: float
    backlog: int = 0


def cases() -> tuple[Case, ...]:
    """Return the cases; the standstill rule may take the breaker's window and five seconds."""
    standstill = BreakerSettings().window_seconds + GRACE_SECONDS
    return (
        Case("100_keys", tuple(f"key-{number}" for number in range(100)), COUNT_SECONDS, BACKLOG),
        Case("4_keys", tuple(f"key-{number}" for number in range(4)), standstill),
        Case("1_key", ("key-0",), standstill),
        Case("keyless", (None,), standstill),
    )


async def run(context: Context) -> Result:
    """Measure each case on a new stack with one partition and one host process."""
    rounds = context.scaled(ROUNDS, 1)
    context.expect(rounds * len(cases()))
    numbers = iter(range(rounds * len(cases())))

    def contender(case: Case) -> Any:
        return lambda: _seconds_to_open(case, context.directory / f"{case.name}-{next(numbers)}")

    contenders = {case.name: contender(case) for case in cases()}
    return result(await interleaved(contenders, rounds, context.advance, warm_up=False))


def result(measured: Mapping[str, Sequence[float]]) -> Result:
    """Return the result of the seconds of each case."""
    found = medians(measured)
    return Result(
        "P13",
        "an outage whose calls fail at once, until the circuit opens, default settings",
        tuple(
            Check(f"{case.name.replace('_', ' ')}, median", found[case.name], "≤", case.limit, "s")
            for case in cases()
        ),
        {f"{name}_seconds_to_open": seconds for name, seconds in found.items()},
        {
            "each_round": {name: list(values) for name, values in measured.items()},
            "events": f"one per key each {TICK_SECONDS:g} s, but a backlog for 100 keys; one "
            "partition, one host process",
            "never_opened": f"counts as {NEVER:g} times the goal",
            "clock": "Redis's times of the outage and of the opening",
            "healthy_seconds": HEALTHY_SECONDS,
        },
    )


async def _seconds_to_open(case: Case, directory: Path) -> float:
    """Return the time from the start of an outage to the opening; see `NEVER`."""
    keys = Keys("benchmark", BreakerSettings().name, ())
    async with AsyncExitStack() as opened:
        services = await opened.enter_async_context(stack(directory, [GROUP]))
        settings = services.app_settings({"EVENT_HUB_CONSUMER_GROUP": GROUP})
        redis = await opened.enter_async_context(Redis.from_url(services.redis_url))
        producer = await opened.enter_async_context(
            EventHubProducerClient.from_connection_string(services.event_hub, eventhub_name=HUB)
        )
        for first in range(0, case.backlog, PER_BATCH):
            for key in case.keys:
                await _send(producer, key, range(first, first + PER_BATCH), keys.run)
        host = await opened.enter_async_context(functions_host(directory / "host", settings))
        sending = asyncio.create_task(_trickle(producer, case, keys.run))
        try:
            await _until_handled(redis, keys, case, host, directory)
            if not case.backlog:
                await asyncio.sleep(HEALTHY_SECONDS)
            began_us = await _begin_outage(redis, keys)
            opened_us = await _opened_us(redis, keys, NEVER * case.limit)
            return NEVER * case.limit if opened_us is None else (opened_us - began_us) / 1e6
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _trickle(producer: EventHubProducerClient, case: Case, run: str) -> None:
    """Send an event of each key at each tick, until cancelled; nothing in a case with a backlog."""
    began = time.monotonic()
    counter = 0
    while not case.backlog:
        counter += 1
        for key in case.keys:
            await _send(producer, key, range(counter, counter + 1), run)
        await asyncio.sleep(max(0.0, began + counter * TICK_SECONDS - time.monotonic()))


async def _send(
    producer: EventHubProducerClient, key: str | None, counters: range, run: str
) -> None:
    """Send events of a key in one batch."""
    batch = await producer.create_batch(partition_key=cast("Any", key))
    for counter in counters:
        data = EventData(json.dumps({"counter": counter}))
        data.properties = {"run": run, "counter": counter}
        batch.add(data)
    await producer.send_batch(batch)


async def _until_handled(
    redis: Redis, keys: Keys, case: Case, host: asyncio.subprocess.Process, directory: Path
) -> None:
    """Wait until an event of each key has been handled."""
    ledgers = [keys.ledger(f"key:{key or ''}") for key in case.keys]
    give_up_at = time.monotonic() + START_SECONDS
    while await redis.exists(*ledgers) < len(ledgers):
        if host.returncode is not None or time.monotonic() > give_up_at:
            tail = log_tail(directory / "host" / "host.log")
            raise ChildError(f"the host handles no events of the case {case.name}{tail}")
        await asyncio.sleep(POLL_SECONDS)


async def _begin_outage(redis: Redis, keys: Keys) -> int:
    """Let the downstream refuse all calls; return the time in microseconds."""
    pipeline = redis.pipeline(transaction=True)
    pipeline.time()
    pipeline.set(keys.ledger("outage"), "1")
    (seconds, micros), _ = await pipeline.execute()
    return int(seconds) * 1_000_000 + int(micros)


async def _opened_us(redis: Redis, keys: Keys, patience: float) -> int | None:
    """Return the time of the opening in microseconds; None without one."""
    give_up_at = time.monotonic() + patience
    while time.monotonic() < give_up_at:
        history: Any = await redis.xrange(keys.circuit("history"))
        for _, entry in history:
            if entry[b"event"] == b"opened":
                return int(entry[b"at_us"])
        await asyncio.sleep(POLL_SECONDS)
    return None
