"""The gate's limit for the holds of one invocation."""

from __future__ import annotations

import asyncio

import pytest

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from processing.batch.gate import Gate
from processing.batch.hold import Hold


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


async def test_stopped_gate_admits_no_event_of_a_circuit_that_it_admitted_before() -> None:
    """The gate remembers the circuit that admitted, but not beyond a stop or a halt."""
    rules = BreakerSettings(ramp_seconds=0)
    async with CircuitBreaker(MemoryCircuitStore(rules.name), rules) as breaker:
        gate, hold, halted = Gate(breaker), Hold(60.0), Hold(60.0)
        assert all(gate.try_admit(hold) is not None for _ in range(3))
        halted.halt(RuntimeError("x"))
        assert gate.try_admit(halted) is None
        gate.stop()
        assert gate.try_admit(hold) is None
