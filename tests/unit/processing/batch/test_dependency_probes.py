"""Lanes that probe a half-open dependency, and their permits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from breaker import CircuitState
from processing.errors import (
    DependencyUnavailableError,
    PoisonEventError,
    ShutdownError,
)
from tests.support.processing.dependency_parts import many, open_parts, simulated
from tests.support.processing.dependency_rig import (
    free_permits,
    half_open,
    trip,
)
from tests.support.processing.events import batch
from tests.support.processing.processor_rig import in_order, keyed


def test_lane_that_can_defer_takes_no_permit() -> None:
    """While the circuit is half-open, the replays of deferred keys probe."""

    async def test() -> None:
        async with open_parts() as parts:
            circuit = await half_open(parts.circuits)
            result = await parts.rig.processor.process(batch(keyed("bank", "none")))
            assert (result.handled, result.deferred) == (1, 1)
            assert await free_permits(circuit) == 2

    simulated(test)


def test_key_of_a_failed_probe_is_deferred_although_the_partition_holds() -> None:
    """One dead key cannot take every permit; the others continue when the circuit closes."""

    async def test() -> None:
        rules = {"break_seconds": 5.0, "break_seconds_max": 5.0}
        async with open_parts(of_bank=rules, max_lanes=200, max_attempts=1) as parts:
            circuit = await trip(parts.circuits)
            downstream = parts.downstream
            downstream.down = {"bank": ConnectionError("down")}
            running = asyncio.create_task(parts.rig.processor.process(batch(many("bank", 100))))
            while circuit.circuit.generation < 2:
                await asyncio.sleep(0.1)
            assert len(await parts.lists()) >= 80 + 2
            downstream.down = {}
            result = await running
            assert 80 + 2 <= result.deferred <= 80 + 4
            assert result.handled == 100 - result.deferred
            assert circuit.circuit.state is CircuitState.CLOSED

    simulated(test)


def test_probe_in_place_makes_all_its_attempts() -> None:
    """An event that keeps its batch from ending otherwise gives up after one attempt."""

    async def test() -> None:
        async with open_parts(of_bank={"break_seconds": 5.0}) as parts:
            parts.rig.store._limits = (100, 1, 2**20)
            circuit = await trip(parts.circuits)
            downstream = parts.downstream
            downstream.down = {"bank": ConnectionError("down")}
            downstream.recovers_after = 1
            result = await parts.rig.processor.process(batch(many("bank", 2)))
            assert (result.deferred, result.handled) == (1, 1)
            assert downstream.calls["bank"] == 2
            known = await circuit.refresh()
            assert (known.probe_failures, known.probe_successes) == (0, 1)

    simulated(test)


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ({"deferred_events_max": 0}, ["bank:a", "bank:b", "bank:c", "bank:a"]),
        ({}, [None, None, None]),
    ],
)
def test_lane_that_cannot_defer_waits_and_probes(
    settings: dict[str, Any], keys: list[str | None]
) -> None:
    """Without deferring, and without keys, the events in place close the circuit again."""

    async def test() -> None:
        rules = {"break_seconds": 5.0}
        async with open_parts(of_bank=rules, **settings) as parts:
            circuit = await trip(parts.circuits)
            events = keyed(*keys)
            result = await parts.rig.processor.process(batch(events))
            assert result.handled == len(keys)
            assert in_order(events, parts.rig.handled)
            assert circuit.circuit.state is CircuitState.CLOSED
            assert parts.downstream.calls["bank"] == len(keys)

    simulated(test)


def test_failed_probes_in_place_open_the_circuit_again() -> None:
    async def test() -> None:
        rules = {"break_seconds": 5.0, "break_seconds_max": 5.0}
        async with open_parts(of_bank=rules, deferred_events_max=0, max_attempts=1) as parts:
            circuit = await trip(parts.circuits)
            downstream = parts.downstream
            downstream.down = {"bank": ConnectionError("down")}
            events = keyed("bank:a", "bank:b", "bank:c", "bank:d")
            running = asyncio.create_task(parts.rig.processor.process(batch(events)))
            while circuit.circuit.generation < 2:
                await asyncio.sleep(0.1)
            downstream.down = {}
            result = await running
            assert result.handled == 4
            assert (circuit.circuit.state, circuit.circuit.generation) == (CircuitState.CLOSED, 2)
            assert (await parts.failures())[0] == 0

    simulated(test)


def test_app_and_dependency_that_open_together_both_close_again() -> None:
    """A probe of the app's circuit that needs the bank gives its permit back."""

    async def test() -> None:
        rules = {"half_open_permits": 1, "failure_threshold": 1}
        of_bank = {"break_seconds": 5.0, "half_open_permits": 1}
        async with open_parts(rules=rules, of_bank=of_bank, deferred_events_max=0) as parts:
            app, bank = parts.rig.breaker, await trip(parts.circuits)
            await app.record_failure("trip", "test", await app.try_acquire())
            await app.approve(app.circuit.generation, "test")
            states = (app.circuit.state, bank.circuit.state)
            result = await parts.rig.processor.process(batch(many("bank", 3)))
            assert states == (CircuitState.HALF_OPEN, CircuitState.OPEN)
            assert result.handled == 3
            assert app.circuit.state is CircuitState.CLOSED
            assert bank.circuit.state is CircuitState.CLOSED

    simulated(test)


def test_probe_of_the_app_that_needs_an_open_dependency_is_deferred() -> None:
    async def test() -> None:
        rules = {"half_open_permits": 1, "failure_threshold": 1}
        async with open_parts(rules=rules) as parts:
            app = parts.rig.breaker
            await trip(parts.circuits)
            await app.record_failure("trip", "test", await app.try_acquire())
            await app.approve(app.circuit.generation, "test")
            result = await parts.rig.processor.process(batch(keyed("bank", "none")))
            assert (result.handled, result.deferred) == (1, 1)
            assert app.circuit.state is CircuitState.CLOSED

    simulated(test)


@pytest.mark.parametrize("end", ["shutdown", "cancelled", "poison", "ordinary", "swallowed"])
def test_probe_without_an_outcome_gives_its_permit_back(end: str) -> None:
    async def test() -> None:
        async with open_parts(deferred_events_max=0, max_attempts=1) as parts:
            circuit = await half_open(parts.circuits)
            downstream = parts.downstream
            downstream.seconds = {"bank": 5.0}
            errors = {"poison": PoisonEventError("no"), "ordinary": ValueError("no")}
            error = errors.get(end, DependencyUnavailableError("down"))
            downstream.down = {"bank": error}
            downstream.swallows = end == "swallowed"
            running = asyncio.create_task(parts.rig.processor.process(batch(keyed("bank"))))
            await asyncio.sleep(1)
            taken = await free_permits(circuit)
            if end == "shutdown":
                downstream.down = {"bank": DependencyUnavailableError("down", retry_after=3)}
                parts.rig.processor.stop()
            elif end == "cancelled":
                running.cancel()
            (outcome,) = await asyncio.gather(running, return_exceptions=True)
            assert taken == 1
            if end == "shutdown":
                assert isinstance(outcome, ShutdownError)
                assert (await circuit.refresh()).probe_failures == 1
            else:
                assert await free_permits(circuit) == 2
                assert (await circuit.refresh()).probe_failures == 0

    simulated(test)


def test_retry_of_a_probe_uses_its_permit_and_counts_once() -> None:
    async def test() -> None:
        async with open_parts(deferred_events_max=0, max_attempts=3) as parts:
            circuit = await half_open(parts.circuits)
            parts.downstream.down = {"bank": ConnectionError("down")}
            running = asyncio.create_task(parts.rig.processor.process(batch(keyed("bank"))))
            await asyncio.sleep(0.5)
            parts.downstream.down = {}
            probed = await circuit.refresh()
            result = await running
            assert probed.probe_failures == 1
            assert parts.downstream.calls["bank"] >= 4
            assert result.handled == 1

    simulated(test)
