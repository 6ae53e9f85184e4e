"""The share of a minute's events that may join the lists of an open dependency's keys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from breaker import BreakerSettings, CircuitBreaker, CircuitOpenError, CircuitState
from breaker import MemoryCircuitStore as CircuitStore
from processing.batch.result import BatchResult
from processing.errors import DependencyUnavailableError, ShutdownError
from processing.event import Event
from processing.monitoring.partition_state import State
from processing.monitoring.reasons import Why
from tests.support.processing.dependency_parts import Parts, open_parts, simulated
from tests.support.processing.dependency_rig import half_open, trip
from tests.support.processing.events import SOURCE, batch, event
from tests.support.processing.processor_rig import in_order

LONG = {"break_seconds": 300.0}


def events_of(count: int, *keys: str, first: int = 0) -> Sequence[Event]:
    return [event(number, keys[number % len(keys)]) for number in range(first, first + count)]


def bank_keys(count: int) -> list[str]:
    return [f"bank:{number}" for number in range(count)]


async def in_lists(parts: Parts) -> int:
    return (await parts.rig.store.summary(SOURCE)).events


def process(parts: Parts, events: Sequence[Event]) -> asyncio.Task[BatchResult]:
    return asyncio.create_task(parts.rig.processor.process(batch(events)))


@pytest.mark.parametrize("ends", ["closed", "half-open"])
def test_events_of_deferred_keys_wait_above_the_share(ends: str) -> None:
    """Each event has a deferred key; without a limit Redis would receive the whole stream."""

    async def test() -> None:
        async with open_parts(of_bank=LONG) as parts:
            circuit = await trip(parts.circuits)
            events = events_of(100, *bank_keys(10))
            running = process(parts, events)
            await asyncio.sleep(30)
            assert await in_lists(parts) == 80
            assert not running.done()
            generation = circuit.circuit.generation
            if ends == "closed":
                await circuit.close_circuit(generation, "test")
            else:
                await circuit.approve(generation, "test")
            result = await running
            assert (result.deferred, result.parked) == (10, 90)
            for _ in range(10):
                await asyncio.sleep(5)
                await parts.rig.processor.replayer.run_due(4)
            assert sorted(parts.rig.handled) == list(range(100))
            assert in_order(events, parts.rig.handled)
            assert circuit.circuit.state is CircuitState.CLOSED

    simulated(test)


def test_replays_run_while_lanes_wait_and_let_them_continue() -> None:
    """The deferred keys probe during the batch that holds; their success closes the circuit."""

    async def test() -> None:
        async with open_parts(of_bank={"break_seconds": 20.0}) as parts:
            await trip(parts.circuits)
            running = process(parts, events_of(100, *bank_keys(10)))
            await asyncio.sleep(15)
            assert not running.done()
            for _ in range(6):
                await asyncio.sleep(5)
                await parts.rig.processor.replayer.run_due(4)
            assert running.done()
            assert parts.bank.circuit.state is CircuitState.CLOSED
            assert await in_lists(parts) == 0

    simulated(test)


def test_one_batch_of_a_half_open_state_is_let_through() -> None:
    """Failed probes in a row must not let the whole stream in, one batch after another."""

    async def test() -> None:
        async with open_parts(of_bank=LONG) as parts:
            circuit = await half_open(parts.circuits)
            keys = bank_keys(10)
            assert (await process(parts, events_of(100, *keys))).parked == 90
            running = process(parts, events_of(100, *keys, first=100))
            await asyncio.sleep(30)
            assert await in_lists(parts) == 100
            assert not running.done()
            await circuit.close_circuit(circuit.circuit.generation, "test")
            assert (await running).parked == 100

    simulated(test)


def test_keys_that_do_not_need_the_dependency_go_on() -> None:
    async def test() -> None:
        async with open_parts(of_bank=LONG) as parts:
            await trip(parts.circuits)
            healthy = ["none:a", "mail:b"]
            events = events_of(200, *bank_keys(18), *healthy)
            running = process(parts, events)
            await asyncio.sleep(1)
            assert len(parts.rig.handled) == 20
            assert not running.done()
            with pytest.raises(DependencyUnavailableError):
                await running

    simulated(test)


def test_partition_is_holding_meanwhile_and_its_batch_runs_again() -> None:
    """The wait ends with the hold time; a redelivery adds nothing to the lists."""

    async def test() -> None:
        async with open_parts(of_bank=LONG, hold_seconds=50.0) as parts:
            watch, loop = parts.rig.processor.parts.watch, asyncio.get_running_loop()
            watch._clock = loop.time
            await trip(parts.circuits)
            for attempt in range(3):
                began, running = loop.time(), process(parts, events_of(100, *bank_keys(10)))
                await asyncio.sleep(40)
                (state,) = watch.states()
                assert (state.state, state.why) == (State.HOLDING, Why.DEPENDENCY), attempt
                with pytest.raises(DependencyUnavailableError):
                    await running
                assert loop.time() - began == pytest.approx(50, abs=1)
                assert await in_lists(parts) == 80
            await parts.bank.close_circuit(parts.bank.circuit.generation, "test")
            await process(parts, events_of(100, *bank_keys(10)))
            assert not watch.states()

    simulated(test)


def test_shutdown_ends_the_wait() -> None:
    async def test() -> None:
        async with open_parts(of_bank=LONG) as parts:
            await trip(parts.circuits)
            running = process(parts, events_of(100, *bank_keys(10)))
            await asyncio.sleep(1)
            parts.rig.processor.stop()
            with pytest.raises(ShutdownError):
                await running

    simulated(test)


def test_claim_names_what_the_latest_keys_wait_for_after_a_restart() -> None:
    """The new process has deferred no key itself."""

    async def test() -> None:
        async with open_parts(of_bank=LONG) as parts:
            await trip(parts.circuits)
            await process(parts, events_of(2, *bank_keys(2)))
            parts.rig.processor._budgets.clear()
            running = process(parts, events_of(100, *bank_keys(2), first=2))
            await asyncio.sleep(1)
            assert await in_lists(parts) == 2 + 80
            assert not running.done()
            await parts.bank.close_circuit(parts.bank.circuit.generation, "test")
            assert (await running).parked == 100

    simulated(test)


def test_events_of_a_dead_key_do_not_count_while_the_circuit_is_closed() -> None:
    """Its dependency serves the other keys."""

    async def test() -> None:
        async with open_parts(of_bank={"failure_threshold": 100}) as parts:
            parts.downstream.down = {"bank": ConnectionError("down")}
            result = await process(parts, events_of(200, "bank"))
            assert (result.deferred, result.parked) == (1, 199)
            assert parts.rig.processor._budgets[SOURCE].refused._refused == 0

    simulated(test)


def test_refusal_without_a_name_lets_later_events_join() -> None:
    """The processor does not know that circuit, and cannot wait for it."""

    async def test() -> None:
        async with (
            CircuitBreaker(CircuitStore("own"), BreakerSettings(name="own")) as own,
            open_parts() as parts,
        ):
            parts.downstream.down = {
                "bank": CircuitOpenError(replace(own.circuit, state=CircuitState.OPEN))
            }
            parts.downstream.uses_blocks = False
            result = await process(parts, events_of(100, *bank_keys(10)))
            assert (result.deferred, result.parked) == (10, 90)
            assert parts.rig.processor._budgets[SOURCE].refused._refused == 100

    simulated(test)
