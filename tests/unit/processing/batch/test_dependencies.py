"""BatchProcessor and dependencies: what is counted, deferred and held while one of them is down."""

from __future__ import annotations

import asyncio
import gc
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from breaker import CircuitBreaker, CircuitState, DependencyCircuits
from processing.dependencies import dependency
from processing.errors import (
    DependencyUnavailableError,
    PoisonEventError,
    ShutdownError,
)
from processing.event import Event
from processing.parking.deferral import DeferralReason
from processing.parking.store import ParkedKey
from tests.support.jumping_loop import run_with_all_clocks
from tests.support.processing.dependency_rig import (
    free_permits,
    half_open,
    open_dependencies,
    trip,
)
from tests.support.processing.events import batch, event
from tests.support.processing.processor_rig import Rig, in_order, keyed
from tests.support.processing.processor_rig import open_rig as open_processor

DEFERS: dict[str, Any] = {
    "deferred_events_max": 10_000,
    "max_attempts": 2,
    "hold_seconds": 60.0,
    "dependency_pause_seconds": 1.0,
}


class Downstream:
    """A handler whose events need the dependencies that their key names, separated by `+`.

    Attributes:
        down: error of each dependency that is down.
        calls: number of calls by dependency.
        seconds: length of a call by dependency.
        swallows: whether the handler does without a dependency that is down.
        uses_blocks: whether the handler calls `dependency()`.
        recovers_after: number of calls after which no dependency is down any more.
        in_parallel: whether an event calls all its dependencies at the same time.
    """

    def __init__(self) -> None:
        self.down: dict[str, BaseException] = {}
        self.calls: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = {}
        self.swallows = False
        self.uses_blocks = True
        self.recovers_after = 1_000_000
        self.in_parallel = False
        self.started: list[int] = []

    async def __call__(self, each: Event) -> None:
        self.started.append(each.sequence_number)
        names = (each.key or "bank").split(":")[0].split("+")
        if self.in_parallel:
            await asyncio.gather(*map(self.call, names))
            return
        for name in names:
            try:
                await self.call(name)
            except DependencyUnavailableError:
                if not self.swallows:
                    raise

    async def call(self, name: str) -> None:
        if name == "none":
            return
        if not self.uses_blocks:
            await self.ask(name)
            return
        async with dependency(name):
            await self.ask(name)

    async def ask(self, name: str) -> None:
        self.calls[name] += 1
        await asyncio.sleep(self.seconds.get(name, 0.001))
        error = self.down.get(name)
        if error is not None and self.calls[name] <= self.recovers_after:
            raise error


class Parts:
    """A processor, its handler and the circuits of its dependencies."""

    def __init__(self, rig: Rig, downstream: Downstream, circuits: DependencyCircuits) -> None:
        self.rig = rig
        self.downstream = downstream
        self.circuits = circuits

    @property
    def bank(self) -> CircuitBreaker:
        return self.circuits.circuits["bank"]

    async def lists(self) -> dict[object, ParkedKey]:
        return {each.key: each for each in await self.rig.store.keys()}

    async def failures(self) -> tuple[int, int]:
        """Return the failures in the windows of the app's circuit and of the bank's."""
        app = (await self.rig.breaker.refresh()).failures
        bank = self.circuits.find("bank")
        return app, 0 if bank is None else (await bank.refresh()).failures


@asynccontextmanager
async def open_parts(
    *,
    downstream: Downstream | None = None,
    rules: dict[str, Any] | None = None,
    of_bank: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Parts]:
    downstream = downstream or Downstream()
    app = {"standstill_failures": 0, "failure_threshold": 1000} | (rules or {})
    async with (
        open_dependencies(**(of_bank or {})) as circuits,
        open_processor(
            downstream,
            settings=DEFERS | settings,
            breaker_settings=app,
            dependencies=circuits,
        ) as rig,
    ):
        now = asyncio.get_running_loop().time
        rig.store._clock = lambda: 1_800_000_000 + now()
        yield Parts(rig, downstream, circuits)


def simulated(test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await test()

    run_with_all_clocks(run())


def many(key: str, count: int, first: int = 0) -> Sequence[Event]:
    return keyed(*(f"{key}:{number}" for number in range(first, first + count)))


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


def test_lane_that_can_defer_takes_no_permit() -> None:
    """While the circuit is half-open, the replays of deferred keys probe."""

    async def test() -> None:
        async with open_parts() as parts:
            circuit = await half_open(parts.circuits)
            result = await parts.rig.processor.process(batch(keyed("bank", "none")))
            assert (result.handled, result.deferred) == (1, 1)
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


def test_successes_of_a_batch_are_recorded_once_for_the_failure_ratio() -> None:
    async def test() -> None:
        async with open_parts(of_bank={"failure_ratio": 0.5}) as parts:
            await parts.rig.processor.process(batch(many("bank", 30)))
            assert (await parts.bank.refresh()).successes == 30

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
