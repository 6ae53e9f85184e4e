"""The works behind the page go on, whatever happens to them."""

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
from console import background as upkeep
from console.backplane.coordination import MemoryCoordination
from console.backplane.stream import MemoryBackplane, Message
from console.live import circuit_feed
from console.live.fanout import Fanout


async def test_failed_task_is_restarted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it was: the page would say "live" over what stands still."""
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
    assert "reading failed; it is restarted" in caplog.text


class BrokenBackplane(MemoryBackplane):
    """One whose driver has a fault of its own, twice."""

    faults = 2

    async def latest(self, count: int) -> list[Message]:
        if self.faults:
            self.faults -= 1
            raise KeyError("kind")
        return await super().latest(count)


class ForgetfulBreaker(CircuitBreaker):
    """One whose history cannot be read at first."""

    refusals = 2

    async def history(self, limit: int = 100) -> list[HistoryEntry]:
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailableError("away")
        return await super().history(limit)


async def test_a_history_that_could_not_be_read_is_read_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though nothing else changes: who approved must not stay unknown."""
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
