"""A processor whose handler needs dependencies, and their circuits."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from breaker import CircuitBreaker, DependencyCircuits
from processing.dependencies import dependency
from processing.errors import (
    DependencyUnavailableError,
)
from processing.event import Event
from processing.parking.store import ParkedKey
from tests.support.jumping_loop import run_with_all_clocks
from tests.support.processing.dependency_rig import (
    open_dependencies,
)
from tests.support.processing.processor_rig import Rig, keyed
from tests.support.processing.processor_rig import open_rig as open_processor

DEFERS: dict[str, Any] = {
    "deferred_events_max": 10_000,
    "max_attempts": 2,
    "hold_seconds": 60.0,
    "dependency_pause_seconds": 1.0,
}


class Downstream:
    """A handler whose events need the dependencies that their key names, separated by `+`.

    Attributes:
        down: error of each dependency that is down.
        calls: number of calls by dependency.
        seconds: length of a call by dependency.
        swallows: whether the handler does without a dependency that is down.
        uses_blocks: whether the handler calls `dependency()`.
        recovers_after: number of calls after which no dependency is down any more.
        in_parallel: whether an event calls all its dependencies at the same time.
    """

    def __init__(self) -> None:
        self.down: dict[str, BaseException] = {}
        self.calls: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = {}
        self.swallows = False
        self.uses_blocks = True
        self.recovers_after = 1_000_000
        self.in_parallel = False
        self.started: list[int] = []

    async def __call__(self, each: Event) -> None:
        self.started.append(each.sequence_number)
        names = (each.key or "bank").split(":")[0].split("+")
        if self.in_parallel:
            await asyncio.gather(*map(self.call, names))
            return
        for name in names:
            try:
                await self.call(name)
            except DependencyUnavailableError:
                if not self.swallows:
                    raise

    async def call(self, name: str) -> None:
        if name == "none":
            return
        if not self.uses_blocks:
            await self.ask(name)
            return
        async with dependency(name):
            await self.ask(name)

    async def ask(self, name: str) -> None:
        self.calls[name] += 1
        await asyncio.sleep(self.seconds.get(name, 0.001))
        error = self.down.get(name)
        if error is not None and self.calls[name] <= self.recovers_after:
            raise error


class Parts:
    """A processor, its handler and the circuits of its dependencies."""

    def __init__(self, rig: Rig, downstream: Downstream, circuits: DependencyCircuits) -> None:
        self.rig = rig
        self.downstream = downstream
        self.circuits = circuits

    @property
    def bank(self) -> CircuitBreaker:
        return self.circuits.circuits["bank"]

    async def lists(self) -> dict[object, ParkedKey]:
        return {each.key: each for each in await self.rig.store.keys()}

    async def failures(self) -> tuple[int, int]:
        """Return the failures in the windows of the app's circuit and of the bank's."""
        app = (await self.rig.breaker.refresh()).failures
        bank = self.circuits.find("bank")
        return app, 0 if bank is None else (await bank.refresh()).failures


@asynccontextmanager
async def open_parts(
    *,
    downstream: Downstream | None = None,
    rules: dict[str, Any] | None = None,
    of_bank: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Parts]:
    downstream = downstream or Downstream()
    app = {"standstill_failures": 0, "failure_threshold": 1000} | (rules or {})
    async with (
        open_dependencies(**(of_bank or {})) as circuits,
        open_processor(
            downstream,
            settings=DEFERS | settings,
            breaker_settings=app,
            dependencies=circuits,
        ) as rig,
    ):
        now = asyncio.get_running_loop().time
        rig.store._clock = lambda: 1_800_000_000 + now()
        yield Parts(rig, downstream, circuits)


def simulated(test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await test()

    run_with_all_clocks(run())


def many(key: str, count: int, first: int = 0) -> Sequence[Event]:
    return keyed(*(f"{key}:{number}" for number in range(first, first + count)))
