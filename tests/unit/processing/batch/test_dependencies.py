"""Lanes whose events need a dependency with an open circuit."""

from __future__ import annotations

import asyncio
import gc

import pytest

from breaker import CircuitState
from processing.errors import (
    DependencyUnavailableError,
)
from processing.event import Event
from processing.parking.deferral import DeferralReason
from tests.support.processing.dependency_parts import DEFERS, many, open_parts, simulated
from tests.support.processing.dependency_rig import (
    free_permits,
    half_open,
    open_dependencies,
    trip,
)
from tests.support.processing.events import batch, event
from tests.support.processing.processor_rig import in_order, keyed
from tests.support.processing.processor_rig import open_rig as open_processor


def test_keys_that_need_an_open_dependency_are_deferred_without_a_call() -> None:
    """Keys that do not need the dependency continue, and no circuit counts a refusal."""

    async def test() -> None:
        async with open_parts() as parts:
            await trip(parts.circuits)
            before = await parts.failures()
            events = keyed("bank", "none", "mail", "bank", "none")
            result = await parts.rig.processor.process(batch(events))
            assert (result.handled, result.deferred, result.parked) == (3, 1, 1)
            assert parts.downstream.calls == {"mail": 1}
            assert await parts.failures() == before
            deferral = (await parts.lists())["bank"].deferral
            assert deferral is not None
            assert (deferral.reason, deferral.dependency) == (DeferralReason.REFUSED, "bank")
            assert deferral.attempts == 1

    simulated(test)


def test_keys_of_another_dependency_never_wait() -> None:
    """The bank hangs for its limit and opens; keys that need the mail alone are not late."""

    async def test() -> None:
        async with open_parts(of_bank={"failure_threshold": 3}) as parts:
            downstream, loop = parts.downstream, asyncio.get_running_loop()
            downstream.down = {"bank": ConnectionError("down")}
            downstream.seconds = {"bank": 1.0, "mail": 0.01}
            names = ["mail+bank" if number % 2 else "mail" for number in range(100)]
            events = keyed(*(f"{name}:{number}" for number, name in enumerate(names)))
            began = loop.time()
            running = asyncio.create_task(parts.rig.processor.process(batch(events)))
            while len(parts.rig.handled) < 50:
                await asyncio.sleep(0.001)
            seconds = loop.time() - began
            result = await running
            assert (result.handled, result.deferred) == (50, 50)
            assert seconds < 0.05
            assert parts.bank.circuit.state is CircuitState.OPEN
            assert parts.circuits.circuits["mail"].circuit.state is CircuitState.CLOSED
            assert (await parts.failures())[0] == 0
            deferrals = [each.deferral for each in (await parts.lists()).values()]
            assert {each.dependency for each in deferrals if each is not None} == {"bank"}

    simulated(test)


def test_event_that_failed_meanwhile_does_not_wait_in_place() -> None:
    """The circuit opens during the call; the key is deferred after it, until the circuit admits."""

    async def test() -> None:
        async with open_parts(max_attempts=1) as parts:
            downstream = parts.downstream
            downstream.down = {"bank": ConnectionError("down")}
            downstream.seconds = {"bank": 2.0, "mail": 30.0}
            events = keyed("bank:a", "mail:a", "mail:b")
            running = asyncio.create_task(parts.rig.processor.process(batch(events)))
            await asyncio.sleep(1)
            await trip(parts.circuits)
            await asyncio.sleep(1.5)
            found = (await parts.lists())["bank:a"]
            result = await running
            assert (result.deferred, parts.downstream.calls["bank"]) == (1, 1)
            assert found.deferral is not None
            assert found.due is not None
            assert 590 < found.due - found.deferral.since <= 600

    simulated(test)


def test_event_whose_circuit_opened_during_its_pause_is_deferred() -> None:
    """Also if the circuit is half-open by then: the lane makes no further call."""

    async def test() -> None:
        async with open_parts(max_attempts=1, dependency_pause_seconds=3.0) as parts:
            parts.downstream.down = {"bank": ConnectionError("down")}
            parts.downstream.seconds = {"mail": 30.0}
            running = asyncio.create_task(
                parts.rig.processor.process(batch(keyed("bank", "mail", "mail:b")))
            )
            await asyncio.sleep(1)
            circuit = await half_open(parts.circuits)
            result = await running
            assert (result.deferred, parts.downstream.calls["bank"]) == (1, 1)
            assert await free_permits(circuit) == 2

    simulated(test)


@pytest.mark.parametrize("ends", ["closed", "probed"])
def test_partition_holds_if_almost_all_its_events_need_the_open_dependency(ends: str) -> None:
    """A share of four fifths is deferred; the rest waits in place, and continues in order."""

    async def test() -> None:
        rules = {"break_seconds": 5.0}
        async with open_parts(of_bank=rules, max_lanes=200) as parts:
            circuit = await trip(parts.circuits)
            events = keyed(*(f"bank:{number}" for number in [*range(100), *range(90, 100)]))
            running = asyncio.create_task(parts.rig.processor.process(batch(events)))
            await asyncio.sleep(1)
            waiting = len(parts.rig.handled), len(await parts.lists())
            if ends == "closed":
                await circuit.close_circuit(circuit.circuit.generation, "test")
            result = await running
            assert waiting[0] == 0
            assert waiting[1] == 88  # four fifths of 110
            assert (result.deferred, result.handled) == (88, 22)
            assert in_order(events, parts.rig.handled)
            assert circuit.circuit.state is CircuitState.CLOSED
            assert await parts.failures() == (0, 0)

    simulated(test)


def test_held_event_is_redelivered_after_the_hold_time() -> None:
    async def test() -> None:
        async with open_parts(deferred_events_max=0, hold_seconds=20.0) as parts:
            await trip(parts.circuits)
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises(DependencyUnavailableError, match="was kept for 20 s"):
                await parts.rig.processor.process(batch(keyed("bank")))
            assert 19 < loop.time() - began < 22

    simulated(test)


def test_key_without_room_in_its_list_waits_in_place() -> None:
    async def test() -> None:
        async with open_parts(of_bank={"break_seconds": 5.0}) as parts:
            parts.rig.store._limits = (100, 1, 2**20)
            circuit = await trip(parts.circuits)
            result = await parts.rig.processor.process(batch(many("bank", 3)))
            assert (result.deferred, result.handled) == (1, 2)
            assert circuit.circuit.state is CircuitState.CLOSED

    simulated(test)


def test_two_blocks_at_the_same_time_are_deferred_for_the_one_that_is_down() -> None:
    async def test() -> None:
        async with open_parts(of_bank={"failure_threshold": 100}) as parts:
            downstream = parts.downstream
            downstream.down = {"bank": ConnectionError("down")}
            downstream.in_parallel = True
            result = await parts.rig.processor.process(batch(keyed("mail+bank")))
            assert result.deferred == 1
            deferral = (await parts.lists())["mail+bank"].deferral
            assert deferral is not None
            assert deferral.dependency == "bank"
            mail = parts.circuits.circuits["mail"]
            assert (await mail.refresh()).failures == 0

    simulated(test)


async def test_task_that_a_handler_leaves_behind_does_not_keep_its_batch() -> None:
    """Many clients create tasks that live as long as a connection, in the context of an event."""
    left: list[asyncio.Task[bool]] = []

    async def handler(_event: Event) -> None:
        if not left:
            left.append(asyncio.create_task(asyncio.Event().wait()))

    bodies = [b"left-behind-%d" % number for number in range(3)]
    async with (
        open_dependencies() as circuits,
        open_processor(handler, settings=DEFERS, dependencies=circuits) as rig,
    ):
        await rig.processor.process(
            batch([event(n, "a", body=body) for n, body in enumerate(bodies)])
        )
        gc.collect()
        kept = [each for each in gc.get_objects() if isinstance(each, Event)]
        # The claim of the lane's lists names the batch's first event.
        assert {each.sequence_number for each in kept if each.body in bodies} <= {0}
        left[0].cancel()
