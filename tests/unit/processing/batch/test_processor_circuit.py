"""Holding, resuming and probing of BatchProcessor."""

from __future__ import annotations

import asyncio

import pytest

from breaker import (
    CircuitOpenError,
    CircuitState,
)
from processing.errors import (
    DependencyUnavailableError,
    PoisonEventError,
)
from processing.event import Event
from tests.support.processing.events import SOURCE, batch
from tests.support.processing.processor_rig import in_order, keyed, parts, trip


async def test_open_circuit_holds_and_then_fails_the_batch() -> None:
    """No event starts while the circuit is open, and the batch fails after hold_seconds."""
    async with parts(settings={"hold_seconds": 0.0}) as made:
        await trip(made.breaker)
        with pytest.raises(CircuitOpenError):
            await made.processor.process(batch(keyed("a", "b")))
        assert made.handled == []
        assert (await made.progress.load(SOURCE)).watermark is None


async def test_held_batch_resumes_when_the_circuit_closes() -> None:
    """The batch resumes with its first unfinished event."""

    async def trip_at_1(each: Event) -> None:
        if each.sequence_number == 1:
            await trip(made.breaker)

    async with parts(trip_at_1, settings={"hold_seconds": 30.0}) as made:
        running = asyncio.create_task(made.processor.process(batch(keyed(*"aaaaaa"))))
        while made.breaker.circuit.admits:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert made.handled == [0, 1]  # events in flight finish, and no other event starts
        await made.breaker.approve(1, "op")
        result = await running
        assert made.handled == [0, 1, 2, 3, 4, 5]
        assert result.handled == 6
        assert made.breaker.circuit.admits


async def test_events_of_a_failing_dependency_wait_for_the_circuit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The failures open the circuit, and the events are neither lost nor poisoned."""
    loop, down, ahead = asyncio.get_running_loop(), True, 0.0
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + ahead)

    async def outage(_each: Event) -> None:
        if down:
            raise DependencyUnavailableError("down")

    async with parts(
        outage,
        settings={"max_attempts": 1, "hold_seconds": 60.0},
        breaker_settings={"failure_threshold": 3},
    ) as made:
        events = keyed(*"abcdeabcde")
        running = asyncio.create_task(made.processor.process(batch(events)))
        while made.breaker.circuit.admits:
            await asyncio.sleep(0)
        while not running.done():  # the hold begins when the lanes come to the gate
            ahead += 60
            await asyncio.sleep(0)
        with pytest.raises(CircuitOpenError):
            await running
        assert made.breaker.circuit.generation == 1
        assert (made.handled, made.poisoned) == ([], [])
        down = False
        await made.breaker.approve(1, "op")
        await made.processor.process(batch(events))
        assert in_order(events, made.handled)
        assert made.breaker.circuit.state is CircuitState.CLOSED


async def test_failed_probe_opens_the_circuit_again() -> None:
    """The first failure opens the next generation, and a poison event changes nothing."""

    async def behave(each: Event) -> None:
        if each.key == "poison":
            raise PoisonEventError("bad")
        if each.key == "fail":
            raise LookupError("x")

    async with parts(
        behave,
        settings={"max_attempts": 1, "hold_seconds": 0.0, "max_lanes": 1},
        breaker_settings={"half_open_permits": 2},
    ) as made:
        await trip(made.breaker)
        await made.breaker.approve(1, "op")
        with pytest.raises(CircuitOpenError):
            await made.processor.process(
                batch(keyed("poison", "poison", "poison", "ok", "fail", "later"))
            )
        assert made.breaker.circuit.state is CircuitState.OPEN
        assert made.breaker.circuit.generation == 2
        assert made.poisoned == [0, 1, 2, 4]
        assert made.handled == [3]
