"""Outages of a dependency, from the first failure to the last replay, in simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from breaker import (
    CircuitBreaker,
    CircuitState,
    DependencyCircuits,
    Key,
    MemoryCircuitStore,
    Recovery,
)
from processing.monitoring.partition_state import State
from processing.monitoring.reasons import Why
from tests.support.jumping_loop import run_with_all_clocks
from tests.support.processing.dependency_rig import (
    LoopClock,
    loop_now_us,
    open_dependencies,
)
from tests.support.processing.events import batch, event
from tests.support.processing.partial_outage import Downstream, Partition, running
from tests.support.processing.processor_rig import Rig, keyed, open_rig

DEFERS: dict[str, Any] = {
    "deferred_events_max": 10_000,
    "max_attempts": 2,
    "hold_seconds": 60.0,
    "dependency_pause_seconds": 1.0,
    "keep_max_seconds": 0,
}
RULES: dict[str, Any] = {
    "failure_threshold": 10,
    "break_seconds": 10.0,
    "break_seconds_max": 40.0,
    "half_open_permits": 4,
    "ramp_seconds": 5.0,
    "window_seconds": 30.0,
    "standstill_failures": 10,
}


class World:
    def __init__(self, rig: Rig, circuits: DependencyCircuits, downstream: Downstream) -> None:
        self.rig = rig
        self.app = rig.breaker
        self.circuits = circuits
        self.downstream = downstream
        self.partition = Partition(rig.processor)

    @property
    def bank(self) -> CircuitBreaker:
        return self.circuits.circuits["bank"]

    async def until_all_is_handled(self, seconds: float = 600) -> None:
        """Wait until no event waits anywhere and each circuit is closed."""
        async with asyncio.timeout(seconds):
            while self.partition.lag or await self.rig.store.keys():
                await asyncio.sleep(1)
            for circuit in (self.app, self.bank):
                while circuit.circuit.state is not CircuitState.CLOSED:
                    await asyncio.sleep(1)


@asynccontextmanager
async def open_world(rules: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[World]:
    downstream, loop = Downstream(), asyncio.get_running_loop()
    async with (
        open_dependencies(**(RULES | (rules or {}))) as circuits,
        open_rig(
            downstream,
            settings=DEFERS | settings,
            breaker_settings=RULES | {"recovery": Recovery.AUTOMATIC} | (rules or {}),
            store=MemoryCircuitStore(now_us=loop_now_us),
            clock=LoopClock(),
            dependencies=circuits,
        ) as rig,
    ):
        rig.store._clock = lambda: 1_800_000_000 + loop.time()
        yield World(rig, circuits, downstream)


def simulated(
    test: Callable[[World], Coroutine[Any, Any, None]], *, timer: bool = True, **options: Any
) -> None:
    async def run() -> None:
        async with open_world(**options) as world:
            async with running(world.partition, pause=5.0 if timer else 1e9):
                await test(world)
            world.rig.processor.stop()
            await world.rig.processor.wait_idle()

    run_with_all_clocks(run())


def keys(*names: str, number: int, of: int = 20) -> list[str]:
    return [f"{name}:k{number % of}" for name in names]


def test_keys_of_other_dependencies_never_wait_and_the_dependency_closes_by_itself() -> None:
    """Half of the events need the bank, which is down for a minute; the app does not notice."""

    async def test(world: World) -> None:
        down = world.downstream.down
        for number in range(240):
            if number == 20:
                down.add("bank")
            if number == 140:
                down.clear()
            world.partition.send(keys("bank+mail", "mail", number=number))
            await asyncio.sleep(0.5)
        await world.until_all_is_handled()
        world.downstream.check_order()
        assert sorted(world.downstream.numbers) == list(range(480))
        assert world.partition.latest(world.downstream.handled, "mail") < 1
        assert world.app.circuit.generation == 0
        assert world.bank.circuit.generation >= 1
        assert world.circuits.circuits["mail"].circuit.generation == 0

    simulated(test)


@pytest.mark.parametrize("deferred_events_max", [10_000, 0])
def test_circuits_of_app_and_dependency_that_open_together_both_close(
    deferred_events_max: int,
) -> None:
    """With and without deferring: no circuit waits for a probe that only the other one admits."""

    async def test(world: World) -> None:
        for number in range(400):
            if number == 100:
                world.downstream.down = {"bank"}
            world.partition.send(keys("bank", number=number, of=2))
            await asyncio.sleep(0.1)
        async with asyncio.timeout(300):
            while not (world.app.circuit.generation and world.bank.circuit.generation):
                await asyncio.sleep(1)
        await asyncio.sleep(60)
        world.downstream.down = set()
        await world.until_all_is_handled()
        world.downstream.check_order()
        assert sorted(world.downstream.numbers) == list(range(400))

    rules = {"failure_threshold": 10_000}  # the standstill rule opens both at once
    simulated(test, rules=rules, deferred_events_max=deferred_events_max)


@pytest.mark.parametrize("of", [450, 40])
def test_dependency_of_all_traffic_holds_the_partition_and_all_returns_in_order(of: int) -> None:
    """Deferring would move all traffic into Redis, also if each event has a deferred key."""

    async def test(world: World) -> None:
        most = 0
        for second in range(150):
            if second == 10:
                world.downstream.down = {"bank"}
            if second == 140:
                assert most < 400
                assert world.partition.lag > 150
                world.downstream.down = set()
            for number in range(4 * second, 4 * second + 4):
                world.partition.send(keys("bank", number=number, of=of))
            await asyncio.sleep(1)
            if found := await world.rig.store.sources():
                most = max(most, (await world.rig.store.summary(found[0])).events)
        await world.until_all_is_handled()
        world.downstream.check_order()
        assert sorted(world.downstream.numbers) == list(range(600))

    simulated(test, rules={"standstill_failures": 0})


def test_crashed_prober_does_not_block_the_recovery() -> None:
    """The permits of a dead instance expire."""

    async def test(world: World) -> None:
        world.downstream.down = {"bank"}
        for number in range(60):
            world.partition.send(keys("bank", "none", number=number))
            await asyncio.sleep(0.1)
        async with asyncio.timeout(60):
            while world.bank.circuit.state is not CircuitState.HALF_OPEN:
                await asyncio.sleep(0.05)
        world.downstream.down = set()
        for _ in range(4):  # a process that ends now
            await world.bank.try_acquire()
        await world.until_all_is_handled()
        world.downstream.check_order()

    simulated(test, rules={"permit_seconds": 20.0})


def test_dead_key_does_not_keep_a_dependency_open() -> None:
    """Its failures as a probe count once, and it gets no permit while others ask."""

    async def test(world: World) -> None:
        world.downstream.dead = {"bank:k0"}
        world.downstream.down = {"bank"}
        for number in range(80):
            if number == 40:
                world.downstream.down = set()
            world.partition.send(keys("bank", "mail", number=number))
            await asyncio.sleep(0.5)
        async with asyncio.timeout(120):
            while len(await world.rig.store.keys()) > 1 or world.partition.lag:
                await asyncio.sleep(1)
        assert world.bank.circuit.state is CircuitState.CLOSED
        assert world.app.circuit.generation == 0
        world.downstream.dead = set()
        await world.until_all_is_handled(1200)
        world.downstream.check_order()

    simulated(test)


def test_next_batch_replays_what_waited_for_the_dependency() -> None:
    """The claim returns the keys that the closing has made due; the timer may be late."""

    async def test(world: World) -> None:
        process = world.rig.processor.process
        world.downstream.down = {"bank"}
        await process(batch(keyed("bank", "none")))
        assert set(world.bank._notes._running) == {Key("bank")}
        await world.bank.isolate("test")
        world.downstream.down = set()
        await world.bank.close_circuit(world.bank.circuit.generation, "test")
        await process(batch([event(2, "none")]))
        await world.rig.processor.wait_idle()
        assert await world.rig.store.keys() == []

    simulated(test, timer=False, defer_after_seconds=0, defer_max_seconds=600)


def test_partition_is_holding_while_the_dependency_holds_it_and_not_longer() -> None:
    """An open circuit has an alarm of its own; a dependency that fails although closed has not."""

    async def test(world: World) -> None:
        watch = world.rig.processor.parts.watch
        watch._clock = asyncio.get_running_loop().time
        world.downstream.down = {"bank"}
        world.partition.send(["bank"])
        await asyncio.sleep(1)
        await world.bank.isolate("test")
        for second in range(300):
            await asyncio.sleep(1)
            (state,) = watch.states()
            if second > 5:
                assert (state.state, state.why) == (State.HOLDING, Why.DEPENDENCY)
        await world.bank.close_circuit(world.bank.circuit.generation, "test")
        for _ in range(65):
            await asyncio.sleep(1)
            watch.states()
        (state,) = watch.states()
        assert (state.state, state.why) == (State.STALLED, Why.KEPT)
        world.downstream.down = set()
        await asyncio.sleep(5)
        assert watch.states() == []

    rules = {"recovery": Recovery.MANUAL, "failure_threshold": 3, "standstill_failures": 0}
    simulated(test, rules=rules, deferred_events_max=0)
