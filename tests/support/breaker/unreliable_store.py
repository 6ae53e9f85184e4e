"""A memory store with outages, refused writes and data loss, and helpers for a clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

from breaker import Circuit, ManualClock, MemoryCircuitStore, StoreUnavailableError
from breaker.errors import WritesRefusedError
from breaker.state import Rules


class UnreliableStore(MemoryCircuitStore):
    """A memory store with outages (`away`) and data loss (`lose_everything`).

    Attributes:
        refuses: why the store takes no writes, although it answers polls; empty: it takes them.
        refuses_polls: whether a poll notices `refuses`; else only the other operations do.
        is_full: whether the store has no memory left; it still takes the circuit's own writes.
    """

    away = False
    refuses = ""
    refuses_polls = True
    is_full = False

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not asyncio.iscoroutinefunction(found) or name == "aclose":
            return found

        async def unless_away(*arguments: Any) -> Any:
            if self.away:
                raise StoreUnavailableError("out of reach")
            if self.refuses and name in {"snapshot", "report"}:
                change = await MemoryCircuitStore.snapshot(self, arguments[0])
                if not self.refuses_polls:
                    return change
                return replace(change, refused=self.refuses, is_full=self.is_full)
            if self.refuses and not self.is_full:
                raise WritesRefusedError(self.refuses)
            return await found(*arguments)

        return unless_away

    async def changes(self, rules: Rules) -> AsyncGenerator[Circuit | None]:
        if self.away:
            raise StoreUnavailableError("out of reach")
        async for circuit in super().changes(rules):
            if self.away:
                raise StoreUnavailableError("out of reach")
            yield circuit

    def lose_everything(self) -> None:
        watchers = self._watchers
        MemoryCircuitStore.__init__(self, self.name, now_us=self._now_us, pushed=self._pushed)
        self._watchers = watchers


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def pass_time(clock: ManualClock, seconds: int) -> None:
    """Advance the clock in steps of a second; background tasks run after each step."""
    for _ in range(seconds):
        await settle()
        clock.advance(1)
    await settle()


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)
