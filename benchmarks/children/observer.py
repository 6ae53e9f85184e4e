"""The child process of P6, a busy instance that reports when it detects an opening.

Standard input is one line of JSON, {"url", "circuit", "lanes", "handler_seconds"}. The end of
standard input ends the process. Standard output is {"ready": true}, then {"seen": generation,
"at_us"} for each opening, and {"over": generation, "started_late", "last_start_us"} when the
opening is over. Times are microseconds since 1970.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import Any

from benchmarks import events
from benchmarks.subject import circuit_breaker
from breaker import BreakerSettings, Circuit, CircuitBreaker
from local.lifeline import watch_stdin
from processing.batch.processor import BatchProcessor
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.parking.batch import Parking
from processing.parking.memory import MemoryParkingStore
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.settings import ProcessingSettings

_BATCH = 200


class Instance:
    """An instance that processes events continuously and records when it starts them."""

    def __init__(self, breaker: CircuitBreaker, lanes: int, handler_seconds: float) -> None:
        self._lanes = lanes
        self._handler_seconds = handler_seconds
        self._started_late = 0
        self._last_start_us: dict[int, int] = {}  # by the generation known at the start
        self._breaker = breaker
        store = MemoryParkingStore()
        self._processor = BatchProcessor(
            LoadedHandler("observer", self._handle),
            breaker=breaker,
            progress=store.progress,
            poison=MemoryPoisonQueue(),
            parking=Parking(store, MemoryClaimChecks()),
            settings=ProcessingSettings(max_lanes=lanes),
        )

    async def _handle(self, event: Event) -> None:
        circuit = self._breaker.circuit
        self._last_start_us[circuit.generation] = time.time_ns() // 1_000
        self._started_late += not circuit.admits
        await asyncio.sleep(self._handler_seconds)

    async def work(self) -> None:
        """Process batch after batch; the processor holds while the circuit is open."""
        source = events.new_source()
        first = 0
        while True:
            await self._processor.process(events.batch(source, first, _BATCH, self._lanes))
            first += _BATCH

    async def watch(self) -> None:
        """Report every opening, and the events that started after it."""
        known = self._breaker.circuit
        while True:
            known = await self._changed(known)
            if not known.admits:
                _print({"seen": known.generation, "at_us": time.time_ns() // 1_000})
                continue
            last_start_us = self._last_start_us.pop(known.generation - 1, 0)
            _print(
                {
                    "over": known.generation,
                    "started_late": self._started_late,
                    "last_start_us": last_start_us,
                }
            )
            self._started_late = 0

    async def _changed(self, known: Circuit) -> Circuit:
        while True:
            now = await self._breaker.wait_for_change(known, timeout=60)
            if now is not known and (now.state, now.generation) != (known.state, known.generation):
                return now


def _print(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Work until standard input ends."""
    order = json.loads(sys.stdin.readline())
    ended = asyncio.Event()
    lifeline = await watch_stdin(ended.set)
    settings = BreakerSettings(name=order["circuit"], failure_threshold=1)
    async with circuit_breaker(order["url"], settings) as breaker:
        instance = Instance(breaker, order["lanes"], order["handler_seconds"])
        tasks = [asyncio.create_task(instance.watch()), asyncio.create_task(instance.work())]
        waiting = asyncio.create_task(ended.wait())
        _print({"ready": True})
        done, _ = await asyncio.wait({*tasks, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*tasks, waiting):
            task.cancel()
        await asyncio.gather(*tasks, waiting, return_exceptions=True)
        for task in done:
            task.result()
    lifeline.close()


if __name__ == "__main__":
    logging.getLogger("breaker").setLevel(logging.ERROR)
    asyncio.run(main())
