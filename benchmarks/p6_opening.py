"""P6, the time until other processes detect that the circuit has opened and stop."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.context import Context
from benchmarks.measuring import percentile
from benchmarks.result import Check, Result
from benchmarks.services import child, read_answer, redis_server, send_line
from benchmarks.subject import circuit_breaker
from breaker import BreakerSettings

PROCESSES = 4
OPENINGS = 200
LANES = 8
HANDLER_SECONDS = 0.005
CIRCUIT = "opening"
LIMIT_MS = 10
AFTERWARDS_SECONDS = 0.02
_COMMAND = ("-m", "benchmarks.children.observer")


class Fleet:
    """The observing processes."""

    def __init__(self, processes: list[asyncio.subprocess.Process], log: Path) -> None:
        self._processes = processes
        self._log = log

    async def answers(self) -> list[dict[str, Any]]:
        """Return the next line of each process."""
        async with asyncio.timeout(30):
            answers: Any = await asyncio.gather(
                *(read_answer(process, _COMMAND, self._log) for process in self._processes)
            )
        return list(answers)


async def run(context: Context) -> Result:
    """Measure 200 openings, detected by 4 processes that process events."""
    openings = context.scaled(OPENINGS, 20)
    context.expect(openings)
    latencies_ms: list[float] = []
    last_starts_ms: list[float] = []
    started_late = 0
    async with AsyncExitStack() as opened:
        url = await opened.enter_async_context(redis_server(context.directory))
        settings = BreakerSettings(name=CIRCUIT, failure_threshold=1)
        breaker = await opened.enter_async_context(circuit_breaker(url, settings))
        log = context.directory / "observers.log"
        order = {"url": url, "circuit": CIRCUIT, "lanes": LANES, "handler_seconds": HANDLER_SECONDS}
        processes = [
            await opened.enter_async_context(child(*_COMMAND, log=log)) for _ in range(PROCESSES)
        ]
        for process in processes:
            await send_line(process, order)
        fleet = Fleet(processes, log)
        await fleet.answers()
        for number in range(openings):
            # Open at a random moment of the observers' work.
            await asyncio.sleep(random.uniform(0.005, 0.02))  # noqa: S311 - no secret
            permit = await breaker.try_acquire()
            circuit = await breaker.record_failure(str(number), "boom", permit)
            opened_us = round((circuit.opened_at or 0) * 1e6)
            latencies_ms += [(seen["at_us"] - opened_us) / 1e3 for seen in await fleet.answers()]
            await asyncio.sleep(AFTERWARDS_SECONDS)
            await breaker.close_circuit(circuit.generation, "benchmark")
            for over in await fleet.answers():
                started_late += over["started_late"]
                last_starts_ms.append(max(0.0, (over["last_start_us"] - opened_us) / 1e3))
            context.advance()
    p99 = percentile(latencies_ms, 99)
    return Result(
        "P6",
        f"an opening seen by {PROCESSES} other processes, {openings} openings",
        (
            Check("opening to being seen, p99", p99, "≤", LIMIT_MS, "ms"),
            Check("events started after seeing it", started_late, "=", 0, "events"),
        ),
        {
            "seen_after_ms_p50": percentile(latencies_ms, 50),
            "seen_after_ms_p99": p99,
            "seen_after_ms_max": max(latencies_ms),
            "last_event_started_ms_p50": percentile(last_starts_ms, 50),
            "last_event_started_ms_p99": percentile(last_starts_ms, 99),
            "last_event_started_ms_max": max(last_starts_ms),
        },
        {
            "observations": len(latencies_ms),
            "clock": "from Redis's time of the opening to the observer's clock on the same machine",
            "load": f"each process runs {LANES} lanes of a {HANDLER_SECONDS * 1e3:g} ms handler",
            "last_event_started": "the time from the opening to the last start of an event in each "
            "process; 0 if that start precedes the opening",
        },
    )
