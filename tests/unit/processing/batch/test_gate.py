"""The gate's limit for the holds of one invocation."""

from __future__ import annotations

import asyncio

import pytest

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from processing.batch.gate import Gate, Hold


async def test_admitted_event_resets_the_hold_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits add up only until the gate admits an event."""
    now = 100.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    rules = BreakerSettings()
    async with CircuitBreaker(MemoryCircuitStore(rules.name), rules) as breaker:
        hold = Hold(60.0)
        assert hold.remaining() == 60
        now += 50
        assert hold.remaining() == 10
        await Gate(breaker).admit(hold)
        assert hold.remaining() == 60
