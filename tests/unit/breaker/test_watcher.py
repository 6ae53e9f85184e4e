"""The watcher's tasks end when they are cancelled, also if the store raises."""

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


class UnsubscribeErrorStore(MemoryCircuitStore):
    """A store whose error while unsubscribing replaces the CancelledError."""

    async def changes(self, rules: Rules) -> AsyncGenerator[Circuit | None]:
        try:
            async for circuit in super().changes(rules):
                yield circuit
        finally:
            raise StoreUnavailableError("the subscription cannot be closed")


def watchers() -> set[asyncio.Task[None]]:
    return {task for task in asyncio.all_tasks() if task.get_name().startswith("breaker-")}


async def test_error_while_unsubscribing_does_not_stop_cancellation() -> None:
    """One cancellation ends both tasks, without a sleep or another attempt."""
    clock = ManualClock()
    breaker = CircuitBreaker(UnsubscribeErrorStore("c"), BreakerSettings(name="c"), clock=clock)
    await breaker.start()
    while not clock.sleeping:
        await asyncio.sleep(0)
    tasks = watchers()
    for task in tasks:
        task.cancel()
    ended, watching = await asyncio.wait(tasks, timeout=5)
    assert (len(ended), watching) == (2, set())
    await breaker.aclose()
