"""ENDPOINT, which compares the cost of the local endpoint's millionth event and first events.

A stock client sends and receives all events of one partition. The endpoint is a separate process
and retains the last 100,000 events.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import psutil
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, EventHubProducerClient

from benchmarks.context import Context
from benchmarks.measuring import median, spread
from benchmarks.result import Check, Result
from benchmarks.services import HUB, child
from local.services.event_hubs import event_hub_connection
from local.services.ports import PortChoice

SHORT, TOTAL = 10_000, 1_000_000
RETENTION = 100_000
BATCH = 500
BODY = b"x" * 100
WITHIN = 0.15
MEMORY_WITHIN = 0.10
_MIB = 1024 * 1024
_KEY = "YmVuY2htYXJr"


async def run(context: Context) -> Result:
    """Time steps of 10,000 events, up to a million, from the first send to the last event."""
    steps = context.scaled(TOTAL, TOTAL // 5) // SHORT
    context.expect(steps)
    port = PortChoice({}, ephemeral=True).resolve()["event-hubs"]
    command = ("-m", "local.event_hubs", "--port", str(port), "--hub", HUB, "--partitions", "1")
    limits = ("--retention-count", str(RETENTION), "--key", f"RootManageSharedAccessKey={_KEY}")
    seconds, cpu, rss = [], [], []
    async with child(*command, *limits, log=context.directory / "endpoint.log") as process:
        assert process.stdout is not None  # noqa: S101 - `child` opens it
        await process.stdout.readline()
        watched = psutil.Process(process.pid)
        async with _Traffic(event_hub_connection(port, _KEY)) as traffic:
            await traffic.pass_through(SHORT)  # warms up connections and caches
            for _ in range(steps):
                before = watched.cpu_times()
                started = time.perf_counter()
                await traffic.pass_through(SHORT)
                seconds.append(time.perf_counter() - started)
                after = watched.cpu_times()
                cpu.append(after.user + after.system - before.user - before.system)
                rss.append(watched.memory_info().rss)
                context.advance()
    part = max(1, steps // 10)
    first, last = median(seconds[:part]), median(seconds[-part:])
    full = 2 * RETENTION // SHORT - 1  # the log has been trimmed and compacted once
    return Result(
        "ENDPOINT",
        f"{SHORT:,} → {steps * SHORT:,} events through the Event Hubs endpoint",
        (
            Check("time per event, last ÷ first tenth", last / first, "≤", 1 + WITHIN, "x"),
            Check(
                "endpoint's CPU time per event, last ÷ first tenth",
                sum(cpu[-part:]) / sum(cpu[:part]),  # the CPU clock is too coarse for one step
                "≤",
                1 + WITHIN,
                "x",
            ),
            Check(
                f"resident memory, end ÷ after {(full + 1) * SHORT:,} events",
                rss[-1] / rss[min(full, steps - 1)],
                "≤",
                1 + MEMORY_WITHIN,
                "x",
            ),
        ),
        {
            "first_tenth_events_per_second": SHORT / first,
            "last_tenth_events_per_second": SHORT / last,
            "endpoint_cpu_us_per_event": sum(cpu) / (steps * SHORT) * 1e6,
            "rss_mib_after_10000": rss[0] / _MIB,
            "rss_mib_at_end": rss[-1] / _MIB,
        },
        {
            "events": steps * SHORT,
            "retention": RETENTION,
            "events_per_second": [SHORT / each for each in seconds],
            "rss_mib": [each / _MIB for each in rss],
            "spread": spread(seconds),
        },
    )


class _Traffic:
    """One producer and one consumer of partition 0."""

    def __init__(self, connection: str) -> None:
        self._producer = EventHubProducerClient.from_connection_string(
            connection, eventhub_name=HUB
        )
        self._consumer = EventHubConsumerClient.from_connection_string(
            connection, consumer_group="$Default", eventhub_name=HUB, prefetch=3000
        )
        self._received = 0
        self._expected = 0
        self._all_received = asyncio.Event()
        self._receiving: asyncio.Task[None] | None = None

    async def pass_through(self, count: int) -> None:
        """Send `count` events and wait until all have been received."""
        self._expected += count
        self._all_received.clear()
        batch = await self._producer.create_batch(partition_id="0")
        for _ in range(BATCH):
            batch.add(EventData(BODY))
        for _ in range(0, count, BATCH):
            await self._producer.send_batch(batch)
        await self._all_received.wait()

    async def _on_events(self, context: Any, events: list[EventData]) -> None:
        del context
        self._received += len(events)
        if self._received >= self._expected:
            self._all_received.set()

    async def __aenter__(self) -> _Traffic:
        self._receiving = asyncio.create_task(
            self._consumer.receive_batch(
                self._on_events, partition_id="0", starting_position="-1", max_wait_time=0.05
            )
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._receiving
        await self._consumer.close()
        await self._producer.close()
