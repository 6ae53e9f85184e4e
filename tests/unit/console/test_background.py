"""Background tasks are restarted or retried after errors."""

from __future__ import annotations

import asyncio

import pytest

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    HistoryEntry,
    MemoryCircuitStore,
    StoreUnavailableError,
)
from breaker.chain import Step, StepKind
from console import background as upkeep
from console.backplane.coordination import MemoryCoordination
from console.backplane.stream import MemoryBackplane, Message
from console.live import circuit_feed
from console.live.fanout import Fanout


async def test_failed_task_is_restarted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The page would otherwise show "Live" while its data no longer change."""
    monkeypatch.setattr(upkeep, "RESTART_SECONDS", 0.001)
    backplane = BrokenBackplane(MemoryCoordination())
    fanout = Fanout(backplane)
    (task,) = upkeep.start(reading=fanout.run)
    (cursor,) = await backplane.publish([("log", {"n": 0})])
    async with asyncio.timeout(10):
        while fanout.ring.cursor != cursor:
            await fanout.wake.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "background task reading failed; it is restarted" in caplog.text


class BrokenBackplane(MemoryBackplane):
    """Backplane whose driver raises an unexpected error twice."""

    faults = 2

    async def latest(self, count: int) -> list[Message]:
        if self.faults:
            self.faults -= 1
            raise KeyError("kind")
        return await super().latest(count)


class ForgetfulBreaker(CircuitBreaker):
    """Breaker whose history cannot be read at first."""

    refusals = 2

    async def history(self, limit: int = 100) -> list[HistoryEntry]:
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailableError("away")
        return await super().history(limit)


async def test_history_is_read_again_after_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The retry does not wait for another change, so the page soon names the operator."""
    monkeypatch.setattr(circuit_feed, "SECONDS", 0.002)
    breaker = ForgetfulBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))
    fanout = Fanout(MemoryBackplane(MemoryCoordination()))
    async with breaker:
        await breaker.isolate("ann", "because")
        feeding = asyncio.create_task(circuit_feed.feed_circuit(breaker, fanout))
        async with asyncio.timeout(5):
            while "ann" not in fanout.history:
                await fanout.wake.wait()
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def test_stop_of_the_app_reaches_open_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop changes no state of the circuit, so the history is polled while a page is open."""
    monkeypatch.setattr(circuit_feed, "SECONDS", 0.002)
    monkeypatch.setattr(circuit_feed, "STEPS_SECONDS", 0.004)
    breaker = CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))
    fanout = Fanout(MemoryBackplane(MemoryCoordination()))
    fanout.pages = 1
    async with breaker:
        feeding = asyncio.create_task(circuit_feed.feed_circuit(breaker, fanout))
        async with asyncio.timeout(5):
            while '"closed"' not in fanout.circuit:
                await fanout.wake.wait()
            step = Step(StepKind.STOP, 0, True, "HTTP 200", 1_700_000_000, "ann")
            await breaker.approvals.report(step)
            while "stop_accepted" not in fanout.history:
                await fanout.wake.wait()
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
