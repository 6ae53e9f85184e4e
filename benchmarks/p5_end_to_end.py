"""P5, the rate from the endpoint through the host and the app, compared with the bare SDK."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

from redis.asyncio import Redis

from benchmarks.context import Context
from benchmarks.measuring import interleaved, medians, spread, steady_rate
from benchmarks.result import Check, Result
from benchmarks.services import (
    HUB,
    ChildError,
    Stack,
    ask,
    child,
    functions_host,
    log_tail,
    read_answer,
    send_line,
    stack,
)
from loadtest.plan.settings import Scenario
from loadtest.plan.workload import Workload
from loadtest.send.producer import Order
from processing.identity import Identity, Source
from processing.progress.store import ProgressStore
from processing.wiring import Wiring

EVENTS, KEYS = 30_000, 100
EVENTS_PER_SENT_BATCH = 10
RUN = "benchmark"
PREFETCH, BATCH = 2_000, 1_000  # as host.json has it
TIMEOUT_SECONDS = 120
POLL_SECONDS = 0.01

BARE = "bare_sdk_events_per_second"
LEDGER = "ledger_events_per_second"
NO_OP = "no_op_events_per_second"
_HANDLERS = {
    LEDGER: "processing.handlers.ledger:LedgerHandler",
    NO_OP: "benchmarks.handlers:no_op",
}


async def run(context: Context) -> Result:
    """Receive the events of one partition repeatedly, by the SDK and by the app."""
    count = context.scaled(EVENTS, EVENTS // 3)
    rounds = context.scaled(7, 1)
    groups = [f"{kind}-{number}" for kind in ("ledger", "no-op") for number in range(rounds)]
    context.expect(1 + 3 * rounds)
    async with stack(context.directory, groups) as services:
        await _send(services, count, context.directory / "producer.log")
        context.advance()
        ends = EndToEnd(services, count, context.directory)
        contenders: dict[str, Callable[[], Awaitable[float]]] = {
            BARE: ends.bare,
            LEDGER: lambda: ends.app(LEDGER, "ledger"),
            NO_OP: lambda: ends.app(NO_OP, "no-op"),
        }
        measured = await interleaved(contenders, rounds, context.advance, warm_up=False)
    found = medians(measured)
    return Result(
        "P5",
        f"end to end, one host process, one partition, {count:,} events, {KEYS} keys",
        (
            Check("ledger handler ÷ bare SDK", found[LEDGER] / found[BARE], "≥", 0.65, "x"),
            Check("no-op handler ÷ bare SDK", found[NO_OP] / found[BARE], "≥", 0.85, "x"),
            Check("events missing in the ledger", ends.missing, "=", 0, "events"),
        ),
        found,
        {
            "rounds": rounds,
            "each_round": measured,
            "spread": {name: spread(values) for name, values in measured.items()},
            "steady": "from 10 % to 90 % of the events, without start and end",
            "app_measured_by": "the watermark in Redis, below which events are durably finished",
            "prefetch": PREFETCH,
            "batch": BATCH,
        },
    )


class EndToEnd:
    """The receivers of all events, each measured in events per second.

    Attributes:
        missing: the events missing in the ledger at the end of a round, summed over all rounds.
    """

    def __init__(self, services: Stack, count: int, directory: Path) -> None:
        self._services = services
        self._count = count
        self._directory = directory
        self._rounds: dict[str, int] = {}
        self.missing = 0

    async def bare(self) -> float:
        """Return the rate of the stock SDK, which only counts events."""
        order = {
            "connection": self._services.event_hub,
            "hub": HUB,
            "group": "$Default",
            "prefetch": PREFETCH,
            "batch": BATCH,
            "total": self._count,
        }
        async with asyncio.timeout(TIMEOUT_SECONDS):
            answer: Any = await ask(
                "-m",
                "benchmarks.children.receiver",
                order=order,
                log=self._directory / "receiver.log",
            )
        return steady_rate([(at, count) for at, count in answer["timeline"]], self._count)

    async def app(self, name: str, kind: str) -> float:
        """Return the app's rate with a handler, a new consumer group and an empty Redis."""
        number = self._rounds.get(kind, 0)
        self._rounds[kind] = number + 1
        group = f"{kind}-{number}"
        overrides = {"EVENT_HANDLER": _HANDLERS[name], "EVENT_HUB_CONSUMER_GROUP": group}
        settings = self._services.app_settings(overrides)
        async with Redis.from_url(self._services.redis_url) as redis, AsyncExitStack() as opened:
            await redis.flushall()
            store = Wiring(settings, opened).progress()
            async with functions_host(self._directory / group, settings) as host:
                timeline = await self._watch(store, group, host)
            if kind == "ledger":
                self.missing += self._count - await _in_ledger(redis)
        return steady_rate(timeline, self._count)

    async def _watch(
        self, store: ProgressStore, group: str, host: asyncio.subprocess.Process
    ) -> list[tuple[float, int]]:
        """Return (seconds, events durably finished) until all events are finished."""
        source = Source(Identity("127.0.0.1", HUB, group), "0")
        timeline: list[tuple[float, int]] = []
        finished = 0
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while finished < self._count:
            watermark = (await store.load(source)).watermark
            finished = 0 if watermark is None else watermark.sequence_number + 1
            timeline.append((time.monotonic(), finished))
            if host.returncode is not None or time.monotonic() > deadline:
                reason = "ended" if host.returncode is not None else "timed out"
                tail = log_tail(self._directory / group / "host.log")
                raise ChildError(f"the host {reason} after {finished:,} events{tail}")
            await asyncio.sleep(POLL_SECONDS)
        return timeline


async def _send(services: Stack, count: int, log: Path) -> None:
    """Send the events of the steady scenario with the load test's producer."""
    order = Order(
        connection=services.event_hub,
        event_hub=HUB,
        run=RUN,
        events_per_batch=EVENTS_PER_SENT_BATCH,
        rate_per_second=0,
        workload=Workload(Scenario.STEADY, count, KEYS, 0, 0),
    )
    command = ("-m", "loadtest.send.producer")
    async with child(*command, log=log) as process:
        await send_line(process, json.loads(order.to_json()))
        progress: dict[str, Any] = {}
        while not progress.get("done"):
            progress = cast("dict[str, Any]", await read_answer(process, command, log))
            if "error" in progress:
                raise ChildError(f"sending failed: {progress['error']}")


async def _in_ledger(redis: Redis) -> int:
    total = 0
    async for key in redis.scan_iter(match=f"ledger:{{{RUN}}}:key:*", count=1_000):
        total += await cast("Any", redis.llen(key))
    return total
