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
from tests.support.processing.processor_rig import in_order, keyed, open_rig, trip


async def test_open_circuit_holds_and_then_fails_the_batch() -> None:
    """No event starts while the circuit is open, and the batch fails after hold_seconds."""
    async with open_rig(settings={"hold_seconds": 0.0}) as rig:
        await trip(rig.breaker)
        with pytest.raises(CircuitOpenError):
            await rig.processor.process(batch(keyed("a", "b")))
        assert rig.handled == []
        assert (await rig.progress.load(SOURCE)).watermark is None


async def test_held_batch_resumes_when_the_circuit_closes() -> None:
    """The batch resumes with its first unfinished event."""

    async def trip_at_1(each: Event) -> None:
        if each.sequence_number == 1:
            await trip(rig.breaker)

    async with open_rig(trip_at_1, settings={"hold_seconds": 30.0}) as rig:
        running = asyncio.create_task(rig.processor.process(batch(keyed(*"aaaaaa"))))
        while rig.breaker.circuit.admits:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert rig.handled == [0, 1]  # events in flight finish, and no other event starts
        await rig.breaker.approve(1, "op")
        result = await running
        assert rig.handled == [0, 1, 2, 3, 4, 5]
        assert result.handled == 6
        assert rig.breaker.circuit.admits


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

    async with open_rig(
        outage,
        settings={"max_attempts": 1, "hold_seconds": 60.0},
        breaker_settings={"failure_threshold": 3},
    ) as rig:
        events = keyed(*"abcdeabcde")
        running = asyncio.create_task(rig.processor.process(batch(events)))
        while rig.breaker.circuit.admits:
            await asyncio.sleep(0)
        while not running.done():  # the hold begins when the lanes come to the gate
            ahead += 60
            await asyncio.sleep(0)
        with pytest.raises(CircuitOpenError):
            await running
        assert rig.breaker.circuit.generation == 1
        assert (rig.handled, rig.poisoned) == ([], [])
        down = False
        await rig.breaker.approve(1, "op")
        await rig.processor.process(batch(events))
        assert in_order(events, rig.handled)
        assert rig.breaker.circuit.state is CircuitState.CLOSED


async def test_three_failed_probes_open_the_circuit_again() -> None:
    """An exhausted event is a failed probe; a poison event gives its permit back uncounted."""

    async def behave(each: Event) -> None:
        if each.key == "poison":
            raise PoisonEventError("bad")
        if each.key != "ok":
            raise LookupError("x")

    async with open_rig(
        behave,
        settings={"max_attempts": 1, "hold_seconds": 0.0, "max_lanes": 1},
        breaker_settings={"half_open_permits": 2},
    ) as rig:
        await trip(rig.breaker)
        await rig.breaker.approve(1, "op")
        with pytest.raises(CircuitOpenError):
            await rig.processor.process(
                batch(keyed(*["poison"] * 5, "ok", "bad", "worse", "worst", "later"))
            )
        assert rig.breaker.circuit.state is CircuitState.OPEN
        assert rig.breaker.circuit.generation == 2
        assert rig.poisoned == [0, 1, 2, 3, 4, 6, 7, 8]
        assert rig.handled == [5]
        assert rig.breaker.circuit.reason == "3 probes failed; last error: LookupError: x"
