"""Watching ends when it is told to, whatever a store does on its way out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from breaker import (
    BreakerSettings,
    Circuit,
    CircuitBreaker,
    ManualClock,
    MemoryCircuitStore,
    StoreUnavailableError,
)
from breaker.state import Rules


class UnwillingStore(MemoryCircuitStore):
    """Fails where it should only end: its error takes the place of a cancellation."""

    async def changes(self, rules: Rules) -> AsyncGenerator[Circuit | None]:
        try:
            async for circuit in super().changes(rules):
                yield circuit
        finally:
            raise StoreUnavailableError("the subscription cannot be given back")


def watchers() -> set[asyncio.Task[None]]:
    return {task for task in asyncio.all_tasks() if task.get_name().startswith("breaker-")}


async def test_an_error_on_the_way_out_does_not_keep_it_watching() -> None:
    """Cancelled once, by closing or by a loop that ends, both tasks end; no sleep, no new try."""
    clock = ManualClock()
    breaker = CircuitBreaker(UnwillingStore("c"), BreakerSettings(name="c"), clock=clock)
    await breaker.start()
    while not clock.sleeping:
        await asyncio.sleep(0)
    tasks = watchers()
    for task in tasks:
        task.cancel()
    ended, watching = await asyncio.wait(tasks, timeout=5)
    assert (len(ended), watching) == (2, set())
    await breaker.aclose()
