"""The failures and successes that a lane counts for its dependencies."""

from __future__ import annotations

import asyncio

import pytest

from breaker import CircuitState
from processing.dependencies import dependency
from processing.errors import (
    DependencyUnavailableError,
    PoisonEventError,
)
from processing.event import Event
from processing.parking.deferral import DeferralReason
from tests.support.processing.dependency_parts import Downstream, many, open_parts, simulated
from tests.support.processing.dependency_rig import (
    trip,
)
from tests.support.processing.events import batch
from tests.support.processing.processor_rig import keyed


@pytest.mark.parametrize("named", [True, False])
def test_failure_counts_once_and_for_its_dependency_only(named: bool) -> None:
    """A block, or the name in the error, says which circuit counts the exhausted event."""

    async def test() -> None:
        async with open_parts(of_bank={"failure_threshold": 100}, max_attempts=3) as parts:
            error = DependencyUnavailableError("down", dependency="Bank")
            parts.downstream.down = {"bank": error if named else ConnectionError("down")}
            parts.downstream.uses_blocks = not named
            result = await parts.rig.processor.process(batch(keyed("bank", "bank")))
            assert (result.deferred, result.parked) == (1, 1)
            assert await parts.failures() == (0, 1)
            deferral = (await parts.lists())["bank"].deferral
            assert deferral is not None
            assert (deferral.reason, deferral.dependency) == (DeferralReason.DEPENDENCY, "bank")

    simulated(test)


def test_failed_attempt_is_noted_for_both_circuits_while_the_dependency_is_closed() -> None:
    """The app's standstill rule learns of an attempt, but not once the dependency is known down."""

    async def test() -> None:
        async with open_parts(of_bank={"failure_threshold": 100}) as parts:
            app, bank = parts.rig.breaker, await parts.circuits.use("bank")
            assert bank is not None
            parts.downstream.down = {"bank": ConnectionError("down")}
            await parts.rig.processor.process(batch(keyed("bank")))
            noted = [each._notes._attempts for each in (app, bank)]
            await bank.isolate("test")
            app._notes._forget_attempts()
            parts.rig.processor.parts.retry._on_failed_attempt(
                keyed("bank")[0],
                parts.rig.processor.parts.retry._classifier.judge(
                    DependencyUnavailableError("down", dependency="bank")
                ),
                ConnectionError("down"),
            )
            assert noted == [1, 1]
            assert app._notes._attempts == 0

    simulated(test)


def test_name_beyond_the_limit_counts_for_the_app() -> None:
    async def test() -> None:
        async with open_parts(of_bank={"max_dependencies": 1}) as parts:
            await parts.circuits.use("mail")
            parts.downstream.down = {"bank": ConnectionError("down")}
            await parts.rig.processor.process(batch(keyed("bank")))
            assert await parts.failures() == (1, 0)
            deferral = (await parts.lists())["bank"].deferral
            assert deferral is not None
            assert deferral.dependency == ""

    simulated(test)


@pytest.mark.parametrize(
    ("error", "failures"), [(ValueError("no"), (1, 0)), (PoisonEventError("no"), (1, 0))]
)
def test_other_error_in_a_block_is_the_apps(error: Exception, failures: tuple[int, int]) -> None:
    """An ordinary error and poison say nothing about the dependency."""

    async def test() -> None:
        async with open_parts() as parts:
            parts.downstream.down = {"bank": error}
            result = await parts.rig.processor.process(batch(keyed("bank")))
            assert result.poisoned == 1
            assert await parts.failures() == failures

    simulated(test)


def test_name_in_an_error_alone_ends_the_attempts_once_the_circuit_is_open() -> None:
    """Without a block the call is made; its key is deferred after one attempt."""

    async def test() -> None:
        async with open_parts(max_attempts=4) as parts:
            await trip(parts.circuits)
            parts.downstream.uses_blocks = False
            error = DependencyUnavailableError("down", dependency="bank")
            parts.downstream.down = {"bank": error}
            parts.downstream.seconds = {"mail": 30.0}
            result = await parts.rig.processor.process(batch(keyed("bank", "mail", "mail:b")))
            assert (result.deferred, parts.downstream.calls["bank"]) == (1, 1)

    simulated(test)


def test_name_in_an_error_alone_closes_the_circuit_again() -> None:
    """The success of an event that had failed is the dependency's success."""

    async def test() -> None:
        rules = {"break_seconds": 5.0, "failure_threshold": 2}
        async with open_parts(of_bank=rules, deferred_events_max=0) as parts:
            downstream = parts.downstream
            downstream.uses_blocks = False
            downstream.down = {"bank": DependencyUnavailableError("down", dependency="bank")}
            running = asyncio.create_task(parts.rig.processor.process(batch(many("bank", 3))))
            await asyncio.sleep(4)
            opened = parts.bank.circuit.state
            downstream.down = {}
            result = await running
            assert opened is CircuitState.OPEN
            assert result.handled == 3
            assert parts.bank.circuit.state is CircuitState.CLOSED

    simulated(test)


class RaisesAgain(Downstream):
    """A handler that catches an error in its first event, and raises the error in the second."""

    error = ConnectionError("down")

    async def __call__(self, each: Event) -> None:
        if each.sequence_number:
            raise self.error
        try:
            async with dependency("bank"):
                raise self.error
        except ConnectionError:
            pass


def test_error_of_an_earlier_event_does_not_name_its_dependency_again() -> None:
    async def test() -> None:
        async with open_parts(downstream=RaisesAgain()) as parts:
            result = await parts.rig.processor.process(batch(keyed("bank", "bank")))
            assert (result.handled, result.deferred) == (1, 1)
            assert await parts.failures() == (1, 0)

    simulated(test)


def test_handler_that_does_without_the_dependency_succeeds() -> None:
    async def test() -> None:
        async with open_parts() as parts:
            await trip(parts.circuits)
            parts.downstream.swallows = True
            result = await parts.rig.processor.process(batch(keyed("bank", "bank")))
            assert (result.handled, parts.downstream.calls) == (2, {})

    simulated(test)


def test_successes_of_a_batch_are_recorded_once_for_the_failure_ratio() -> None:
    async def test() -> None:
        async with open_parts(of_bank={"failure_ratio": 0.5}) as parts:
            await parts.rig.processor.process(batch(many("bank", 30)))
            assert (await parts.bank.refresh()).successes == 30

    simulated(test)
