"""Many processes on one circuit: `python tests/support/breaker/fleet.py < orders.json`.

The parent reads {"url", "processes", "mode", "rounds", ...}, forks, and prints one JSON list per
round, with the result of each process. Children wait for a byte before each round, so that all
begin at the same moment. `clock_offset` shifts each child's clock by so many seconds, either way.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitOpenError,
    Permit,
    RedisCircuitStore,
)
from breaker.stores.redis import connect

TIMEOUT_SECONDS = 60.0
"""Redis timeout; fifty processes that start together may wait long for an answer."""


def shift_clock(seconds: float) -> None:
    """Shift the clock of this process."""
    real_time, real_time_ns = time.time, time.time_ns
    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: real_time_ns() + int(seconds * 1e9)


class Child:
    """A process of the fleet, with one operation per round."""

    def __init__(self, orders: dict[str, Any], index: int) -> None:
        self.orders = orders
        self.index = index
        self.client = connect(orders["url"], BreakerSettings(store_timeout_seconds=TIMEOUT_SECONDS))

    def breaker(self, number: int) -> CircuitBreaker:
        settings = BreakerSettings(name=f"round-{number}", **self.orders["settings"])
        store = RedisCircuitStore(self.client, settings.name, timeout_seconds=TIMEOUT_SECONDS)
        return CircuitBreaker(store, settings, instance=f"child:{self.index}")

    async def prepare(self) -> None:
        await self.client.ping()

    async def record(self, number: int) -> Any:
        """Record failures concurrently; return the greatest generation and failure count."""
        breaker = self.breaker(number)
        circuits = await asyncio.gather(
            *(
                breaker.record_failure(f"{self.index}/{recorder}", "boom", Permit(0))
                for recorder in range(self.orders["recorders"])
            )
        )
        return {
            "generation": max(circuit.generation for circuit in circuits),
            "failures": max(circuit.failures for circuit in circuits),
        }

    async def probe(self, number: int) -> Any:
        """Acquire one permit; return its probe id, or None if refused."""
        try:
            permit = await self.breaker(number).try_acquire()
        except CircuitOpenError:
            return None
        return permit.probe_id

    async def serve(self, orders_pipe: int, answers_pipe: int) -> None:
        await self.prepare()
        mode = getattr(self, self.orders["mode"])
        with os.fdopen(answers_pipe, "w") as answers:
            answers.write("ready\n")
            answers.flush()
            for number in range(self.orders["rounds"]):
                os.read(orders_pipe, 1)
                answers.write(json.dumps(await mode(number)) + "\n")
                answers.flush()
        await self.client.aclose()


def main() -> None:
    """Fork the children, run the rounds, print the results, and wait for all children."""
    orders = json.loads(sys.stdin.read())
    children = []
    for index in range(orders["processes"]):
        orders_read, orders_write = os.pipe()
        answers_read, answers_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(orders_write)
            offset = orders.get("clock_offset", 0)
            shift_clock(offset if index % 2 else -offset)
            asyncio.run(Child(orders, index).serve(orders_read, answers_write))
            os._exit(0)
        os.close(orders_read)
        os.close(answers_write)
        children.append((pid, orders_write, os.fdopen(answers_read)))
    for _, _, answers in children:
        assert answers.readline() == "ready\n"
    for _ in range(orders["rounds"]):
        for _, orders_write, _ in children:
            os.write(orders_write, b"g")
        sys.stdout.write(
            json.dumps([json.loads(answers.readline()) for _, _, answers in children]) + "\n"
        )
    for pid, _, answers in children:
        answers.close()
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
