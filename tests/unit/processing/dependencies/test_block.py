"""`dependency()`: what a block admits, tags and notes, in tasks, threads and child tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from breaker import (
    CircuitState,
    DependencyCircuits,
    MemoryCircuitStore,
    MemoryDependencyStore,
    Permit,
)
from breaker.stores.base import Admission
from processing.dependencies import dependency
from processing.dependencies.scope import current_scope, enter_scope
from processing.errors import (
    DependencyRefusedError,
    DependencyUnavailableError,
    FaultyHandlerError,
)
from processing.event import Event
from processing.handlers.failures.classification import Classifier
from processing.handlers.failures.kind import FailureKind
from processing.handlers.loading import LoadedHandler
from tests.support.processing.dependency_rig import (
    Owner,
    free_permits,
    half_open,
    loop_now_us,
    open_dependencies,
    trip,
)
from tests.support.processing.events import event


@asynccontextmanager
async def event_of(*, probes: bool = False, **options: Any) -> AsyncIterator[DependencyCircuits]:
    """Run the block of the test as the handler of an event; `current_scope` has its scope."""
    async with open_dependencies(**options) as dependencies:
        owner = Owner(dependencies, probes=probes)
        enter_scope(owner)
        try:
            yield dependencies
        finally:
            await owner.own.close()


def judge(error: BaseException) -> tuple[FailureKind, str]:
    verdict = Classifier().judge(error)
    return verdict.kind, verdict.dependency


async def fail(name: str, error: BaseException) -> BaseException:
    """Raise an error in a block, and return it as the handler raises it."""
    with pytest.raises(type(error)) as raised:
        async with dependency(name):
            raise error
    return raised.value


async def test_block_outside_of_an_event_does_nothing() -> None:
    """A handler can be called in a unit test; its block neither waits nor needs a circuit."""
    async with dependency("bank"):
        pass
    with dependency("bank"):
        pass
    assert current_scope() is None


async def test_first_block_registers_its_dependency_in_lower_case() -> None:
    async with event_of() as dependencies:
        for _ in range(3):
            async with dependency("Bank"):
                pass
        assert list(dependencies.circuits) == ["bank"]


@pytest.mark.parametrize("error", [ConnectionError("down"), TimeoutError()])
async def test_outage_in_a_block_belongs_to_its_dependency(error: Exception) -> None:
    async with event_of():
        assert judge(await fail("bank", error)) == (FailureKind.DEPENDENCY, "bank")


async def test_ordinary_error_in_a_block_belongs_to_no_dependency() -> None:
    async with event_of():
        assert judge(await fail("bank", ValueError("no"))) == (FailureKind.EXHAUSTED, "")


async def test_error_outside_of_a_block_belongs_to_the_app() -> None:
    async with event_of():
        async with dependency("bank"):
            pass
        assert judge(ConnectionError("other")) == (FailureKind.DEPENDENCY, "")


async def test_innermost_block_has_the_error() -> None:
    async with event_of():
        error = ConnectionError("down")
        with pytest.raises(ConnectionError):
            async with dependency("outer"), dependency("inner"):
                raise error
        assert judge(error) == (FailureKind.DEPENDENCY, "inner")


async def test_name_in_the_error_wins_over_the_block() -> None:
    async with event_of():
        error = await fail("bank", DependencyUnavailableError("down", dependency="Mail"))
        assert judge(error) == (FailureKind.DEPENDENCY, "mail")


async def test_error_from_a_tagged_error_keeps_the_tag() -> None:
    """Also if another block raises the new error: the author says what it comes from."""
    async with event_of():
        first = await fail("bank", ConnectionError("down"))
        second = DependencyUnavailableError("the bank is down")
        second.__cause__ = first
        assert judge(second) == (FailureKind.DEPENDENCY, "bank")
        third = RuntimeError("no answer")
        third.__cause__ = first
        assert judge(await fail("mail", third)) == (FailureKind.DEPENDENCY, "bank")


async def test_tag_of_a_wrapper_names_the_outage_behind_it() -> None:
    """A client's error leaves the block inside the handler's own error."""
    async with event_of():
        wrapper = RuntimeError("payment failed")
        wrapper.__cause__ = ConnectionError("down")
        assert judge(await fail("bank", wrapper)) == (FailureKind.DEPENDENCY, "bank")


async def test_same_error_object_has_no_tag_in_the_next_event() -> None:
    async with event_of():
        error = await fail("bank", ConnectionError("down"))
        scope = current_scope()
        assert scope is not None
        before = scope.unsettled
        await scope.end()
        assert (before, scope.unsettled) == (True, False)
        assert judge(error) == (FailureKind.DEPENDENCY, "")


async def test_handler_that_catches_many_errors_keeps_few_of_them() -> None:
    async with event_of():
        scope = current_scope()
        assert scope is not None
        for number in range(250):
            await fail("bank", ConnectionError(str(number)))
        assert len(scope.tags._tags) == 100


async def test_two_blocks_in_parallel_keep_their_errors_apart() -> None:
    """An exception group is an outage of the first member that is one."""

    async def call(name: str, error: Exception) -> None:
        async with dependency(name):
            await asyncio.sleep(0)
            raise error

    async with event_of():
        with pytest.raises(ExceptionGroup) as raised:
            async with asyncio.TaskGroup() as group:
                group.create_task(call("mail", ValueError("no")))
                group.create_task(call("bank", ConnectionError("down")))
        assert judge(raised.value) == (FailureKind.DEPENDENCY, "bank")
        results = await asyncio.gather(
            call("mail", ConnectionError()), call("bank", ConnectionError()), return_exceptions=True
        )
        assert [judge(each)[1] for each in results if each is not None] == ["mail", "bank"]


@pytest.mark.parametrize("limit_inside", [True, False])
async def test_time_limit_of_the_handler_around_or_in_a_block_belongs_to_it(
    limit_inside: bool,
) -> None:
    async with event_of() as dependencies:
        await dependencies.use("bank")
        with pytest.raises(TimeoutError) as raised:
            if limit_inside:
                async with dependency("bank"), asyncio.timeout(0):
                    await asyncio.Event().wait()
            else:
                async with asyncio.timeout(0), dependency("bank"):
                    await asyncio.Event().wait()
        assert judge(raised.value) == (FailureKind.DEPENDENCY, "bank")


async def test_time_limit_of_the_call_belongs_to_the_block_that_hangs() -> None:
    async def handler(_event: Event) -> None:
        async with dependency("bank"):
            await asyncio.Event().wait()

    async with event_of():
        with pytest.raises(TimeoutError) as raised:
            await LoadedHandler("tests:handler", handler, timeout_seconds=0.01).handle(event(1))
        assert judge(raised.value) == (FailureKind.DEPENDENCY, "bank")


async def test_open_circuit_refuses_the_block_without_running_it() -> None:
    async with event_of(probes=True) as dependencies:
        await trip(dependencies)
        with pytest.raises(DependencyRefusedError) as raised:
            async with dependency("bank"):
                pytest.fail("the block ran")
        assert raised.value.dependency == "bank"
        assert judge(raised.value) == (FailureKind.REFUSED, "bank")
        wrapper = DependencyUnavailableError("the bank is down")
        wrapper.__cause__ = raised.value
        assert judge(wrapper) == (FailureKind.REFUSED, "bank")


async def test_half_open_circuit_refuses_an_owner_that_does_not_probe() -> None:
    async with event_of() as dependencies:
        circuit = await half_open(dependencies)
        with pytest.raises(DependencyRefusedError):
            async with dependency("bank"):
                pytest.fail("the block ran")
        assert await free_permits(circuit) == 2


async def test_success_of_a_probe_counts_once_for_the_event() -> None:
    """A second block of the event needs no further permit."""
    async with event_of(probes=True) as dependencies:
        circuit = await half_open(dependencies)
        async with dependency("bank"), dependency("bank"):
            pass
        async with dependency("bank"):
            pass
        assert (await circuit.refresh()).probe_successes == 1
        assert await free_permits(circuit) == 1


async def test_permit_of_the_owner_is_the_one_that_the_block_uses() -> None:
    async with event_of() as dependencies:
        circuit = await half_open(dependencies)
        scope = current_scope()
        assert scope is not None
        scope.hold("bank", await circuit.try_acquire())
        assert scope.is_probe
        async with dependency("bank"):
            pass
        assert (await circuit.refresh()).probe_successes == 1
        assert not scope.is_probe


async def test_failed_probe_keeps_its_permit_for_the_next_attempt() -> None:
    async with event_of(probes=True) as dependencies:
        circuit = await half_open(dependencies)
        scope = current_scope()
        assert scope is not None
        for _ in range(2):
            await fail("bank", ConnectionError("down"))
            assert await free_permits(circuit) == 1
        permit = scope.take_permit("bank", circuit)
        assert permit.probe_id is not None
        await circuit.record_failure("event", "down", permit)
        await scope.end()
        assert (await circuit.refresh()).probe_failures == 1


async def test_permit_without_an_outcome_is_released_at_the_end_of_the_event() -> None:
    """A handler that catches the error, an ordinary error and a cancelled call use up none."""
    async with event_of(probes=True) as dependencies:
        circuit = await half_open(dependencies)
        scope = current_scope()
        assert scope is not None
        for error in (ConnectionError(), ValueError(), asyncio.CancelledError()):
            await fail("bank", error)
            assert await free_permits(circuit) == 1
            await scope.end()
            assert await free_permits(circuit) == 2


async def test_two_blocks_at_the_same_time_take_one_permit() -> None:
    async def call() -> None:
        async with dependency("bank"):
            await asyncio.sleep(0)

    async with event_of(probes=True) as dependencies:
        circuit = await half_open(dependencies)
        await asyncio.gather(call(), call())
        assert (await circuit.refresh()).probe_successes == 1
        assert await free_permits(circuit) == 1


class SlowCircuit(MemoryCircuitStore):
    """A store whose answer to `acquire` comes late."""

    def __init__(self) -> None:
        super().__init__("breakwater/bank", now_us=loop_now_us)
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def acquire(self, *args: Any) -> Admission:
        admission = await super().acquire(*args)
        self.asked.set()
        await self.answer.wait()
        return admission


async def test_probe_that_is_cancelled_before_the_answer_leaves_no_permit() -> None:
    async def call() -> None:
        async with dependency("bank"):
            pytest.fail("the block ran")

    slow = SlowCircuit()
    store = MemoryDependencyStore(now_us=loop_now_us)
    store._circuits["bank"] = slow
    async with event_of(probes=True, store=store) as dependencies:
        circuit = await half_open(dependencies)
        task = asyncio.create_task(call())
        await slow.asked.wait()
        task.cancel()
        slow.answer.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await free_permits(circuit) == 2


async def test_name_beyond_the_limit_belongs_to_the_app() -> None:
    async with event_of(max_dependencies=1):
        async with dependency("bank"):
            pass
        assert judge(await fail("mail", ConnectionError())) == (FailureKind.DEPENDENCY, "")


async def test_successes_are_counted_for_a_circuit_with_a_failure_ratio() -> None:
    async with event_of(failure_ratio=0.5):
        scope = current_scope()
        assert scope is not None
        for _ in range(3):
            async with dependency("bank"):
                pass
        await fail("bank", ConnectionError())
        assert scope._successes == {"bank": 3}


async def test_block_notes_its_success_and_its_key() -> None:
    async with event_of() as dependencies:
        async with dependency("bank"):
            pass
        report = dependencies.circuits["bank"]._notes.take()
        assert report is not None
        assert report.succeeded
        assert len(report.running) == 1
        scope = current_scope()
        assert scope is not None
        await scope.close()
        assert dependencies.circuits["bank"]._notes.take() is None


async def test_plain_block_on_the_event_loop_says_what_to_write() -> None:
    async with event_of():
        block = dependency("bank")
        with pytest.raises(FaultyHandlerError, match=r"write `async with dependency\('bank'\)`"):
            block.__enter__()


async def test_block_cannot_be_entered_twice() -> None:
    block = dependency("bank")
    async with block:
        pass
    with pytest.raises(FaultyHandlerError, match="second time"):
        async with block:
            pytest.fail("the block ran")


def test_name_must_be_text() -> None:
    with pytest.raises(FaultyHandlerError, match="not NoneType"):
        dependency(None)  # type: ignore[arg-type]


type InThread = Callable[[], None]


async def in_thread(call: InThread) -> None:
    """Run a plain handler as the processor runs it."""

    def handler(_event: Event) -> None:
        call()

    loaded = LoadedHandler("tests:handler", handler, threads=1)
    try:
        await loaded.handle(event(1))
    finally:
        await loaded.aclose()


def plain(error: Exception | None = None) -> InThread:
    def call() -> None:
        with dependency("bank"):
            if error is not None:
                raise error

    return call


def own_loop(error: Exception | None = None) -> InThread:
    async def work() -> None:
        async with dependency("bank"):
            if error is not None:
                raise error

    return lambda: asyncio.run(work())


@pytest.mark.parametrize("kind", [plain, own_loop])
async def test_block_in_a_thread_belongs_to_the_event(
    kind: Callable[..., InThread],
) -> None:
    """A plain handler's block, and that of a plain handler with an event loop of its own."""
    async with event_of(probes=True) as dependencies:
        await in_thread(kind())
        circuit = dependencies.circuits["bank"]
        report = circuit._notes.take()
        assert report is not None
        assert report.succeeded
        error = ConnectionError("down")
        with pytest.raises(ConnectionError):
            await in_thread(kind(error))
        assert judge(error) == (FailureKind.DEPENDENCY, "bank")

        await trip(dependencies)
        with pytest.raises(DependencyRefusedError):
            await in_thread(kind())
        await circuit.approve(circuit.circuit.generation, "test")
        await in_thread(kind())
        assert (await circuit.refresh()).probe_successes == 1


async def test_task_that_outlives_its_event_probes_nothing() -> None:
    async with event_of(probes=True) as dependencies:
        circuit = await half_open(dependencies)
        scope = current_scope()
        assert scope is not None
        await scope.close()
        with pytest.raises(DependencyRefusedError):
            async with dependency("bank"):
                pytest.fail("the block ran")
        assert await free_permits(circuit) == 2


async def test_late_outcome_has_the_generation_in_which_its_block_began() -> None:
    async with event_of() as dependencies:
        with pytest.raises(ConnectionError):
            async with dependency("bank"):
                circuit = await trip(dependencies)
                raise ConnectionError("down")
        scope = current_scope()
        assert scope is not None
        assert scope.take_permit("bank", circuit) == Permit(0)
        assert circuit.circuit.state is CircuitState.OPEN
