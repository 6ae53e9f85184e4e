"""Guards and decorators around calls, on an event loop and without one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from breaker import (
    BreakerSettings,
    Circuit,
    CircuitBreaker,
    CircuitOpenError,
    CircuitState,
    ManualClock,
    MemoryCircuitStore,
    MisuseError,
    Permit,
)
from breaker.state import Change, Rules
from tests.support.patience import HANG_SECONDS

SETTINGS = BreakerSettings(name="c", failure_threshold=2, half_open_permits=1)


def state_of(breaker: CircuitBreaker) -> CircuitState:
    return breaker.circuit.state


class CountingStore(MemoryCircuitStore):
    """A store that counts the calls of its operations that cost a request."""

    requests = 0

    async def record_successes(
        self, rules: Rules, report_id: str, count: int, permit: Permit
    ) -> Change:
        self.requests += 1
        return await super().record_successes(rules, report_id, count, permit)

    async def record_failure(
        self, rules: Rules, failure_id: str, error: str, permit: Permit
    ) -> Change:
        self.requests += 1
        return await super().record_failure(rules, failure_id, error, permit)

    async def snapshot(self, rules: Rules) -> Change:
        self.requests += 1
        return await super().snapshot(rules)


@pytest.fixture
def store(clock: ManualClock) -> CountingStore:
    return CountingStore("c", now_us=clock.now_us)


@pytest.fixture
async def breaker(store: CountingStore, clock: ManualClock) -> AsyncIterator[CircuitBreaker]:
    async with CircuitBreaker(store, SETTINGS, clock=clock) as started:
        yield started


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def fail(breaker: CircuitBreaker, error: BaseException, **options: Any) -> None:
    with pytest.raises(type(error)):
        async with breaker.guard(**options):
            raise error


async def test_guard_counts_errors_and_refuses_when_open(breaker: CircuitBreaker) -> None:
    await fail(breaker, OSError("down"))
    assert breaker.circuit.failures == 1
    await fail(breaker, OSError("down"))
    assert state_of(breaker) is CircuitState.OPEN
    assert "last error: down" in breaker.circuit.reason
    entered = False
    with pytest.raises(CircuitOpenError):
        async with breaker.guard():
            entered = True
    assert not entered


async def test_call_that_succeeds_costs_no_request(
    breaker: CircuitBreaker, store: CountingStore
) -> None:
    before = store.requests
    async with breaker.guard():
        pass
    assert store.requests == before
    await breaker.refresh()
    assert breaker.circuit.last_success_at is not None  # the poll has reported the success


@pytest.mark.parametrize(
    "error", [ValueError("not mine"), asyncio.CancelledError(), CircuitOpenError(Circuit("other"))]
)
async def test_error_that_does_not_count_ends_neither_way(
    breaker: CircuitBreaker, error: BaseException
) -> None:
    """In half-open its permit is free again, so that the next call may probe."""
    failures = Exception if isinstance(error, CircuitOpenError) else OSError
    await fail(breaker, error, failures=failures)
    assert breaker.circuit.failures == 0
    await fail(breaker, OSError())
    await fail(breaker, OSError())
    await breaker.approve(1, "ann")
    await fail(breaker, error, failures=failures)
    assert state_of(breaker) is CircuitState.HALF_OPEN
    async with breaker.guard():  # there is only one permit
        pass
    assert state_of(breaker) is CircuitState.CLOSED


async def test_failed_probe_counts(breaker: CircuitBreaker) -> None:
    await breaker.isolate("ann")
    await breaker.close_circuit(1, "ann")
    await fail(breaker, OSError())
    await fail(breaker, OSError())
    await breaker.approve(2, "ann")
    await fail(breaker, OSError())
    assert breaker.circuit.probe_failures == 1


async def test_success_counts_for_the_ratio_rule(clock: ManualClock, store: CountingStore) -> None:
    settings = BreakerSettings(name="c", failure_ratio=0.5, minimum_throughput=4)
    async with CircuitBreaker(store, settings, clock=clock) as breaker:
        for _ in range(2):
            async with breaker.guard():
                pass
        await fail(breaker, OSError())
        assert breaker.circuit.successes == 2
        await fail(breaker, OSError())
        assert state_of(breaker) is CircuitState.OPEN


@pytest.mark.parametrize(
    ("key", "state"), [("customer", CircuitState.CLOSED), (None, CircuitState.OPEN)]
)
async def test_calls_of_one_key_are_no_standstill(
    clock: ManualClock, store: CountingStore, key: str | None, state: CircuitState
) -> None:
    """While another customer's call runs, one customer's failures say nothing about all."""
    settings = BreakerSettings(name="c", standstill_failures=10, window_seconds=10)
    breaker = CircuitBreaker(store, settings, clock=clock)
    await breaker.refresh()
    async with breaker.guard(key="other"):
        for _ in range(15):
            await fail(breaker, OSError(), key=key)
            await breaker.refresh()
            clock.advance(9)
            await breaker.refresh()
            if breaker.circuit.state is not CircuitState.CLOSED:
                break
        assert breaker.circuit.state is state
    await breaker.aclose()


async def test_guard_is_used_once(breaker: CircuitBreaker) -> None:
    guard = breaker.guard()
    async with guard:
        pass
    with pytest.raises(MisuseError, match="entered twice"):
        async with guard:
            pass


async def test_guard_works_without_a_start(clock: ManualClock, store: CountingStore) -> None:
    """Each call then reads the state."""
    breaker = CircuitBreaker(store, SETTINGS, clock=clock)
    await fail(breaker, OSError())
    await fail(breaker, OSError())
    with pytest.raises(CircuitOpenError):
        async with breaker.guard():
            pass
    await breaker.aclose()


async def test_decorated_coroutine_function_keeps_name_arguments_and_result(
    breaker: CircuitBreaker,
) -> None:
    @breaker.protect
    async def add(one: int, *, other: int) -> int:
        """Add."""
        return one + other

    assert await add(1, other=2) == 3
    assert (add.__name__, add.__doc__) == ("add", "Add.")


async def test_decorator_counts_the_named_errors_only(breaker: CircuitBreaker) -> None:
    @breaker.protect(failures=(OSError, TimeoutError))
    async def call(error: Exception) -> None:
        raise error

    for error in (OSError(), KeyError(), KeyError(), OSError()):
        with pytest.raises(type(error)):
            await call(error)
    assert state_of(breaker) is CircuitState.OPEN
    with pytest.raises(CircuitOpenError):
        await call(KeyError())


class Caller:
    async def __call__(self) -> None:
        raise OSError

    def plain(self) -> Awaitable[None]:
        return self()


async def test_object_and_partial_that_are_called_as_coroutine_functions_are_protected(
    breaker: CircuitBreaker,
) -> None:
    async def call(number: int) -> None:
        raise OSError(number)

    for function in (partial(call, 1), Caller()):
        with pytest.raises(OSError):
            await breaker.protect(function)()
    assert state_of(breaker) is CircuitState.OPEN


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [generator, async_generator, OSError, 3])
def test_what_is_no_function_is_refused(function: Any) -> None:
    """A generator's call returns before its work begins; a class is a forgotten `failures=`."""
    breaker = CircuitBreaker(MemoryCircuitStore("c"), SETTINGS)
    with pytest.raises(MisuseError, match="it takes a function"):
        breaker.protect(function)


@pytest.mark.parametrize("failures", [BaseException, OSError(), (), [OSError], (OSError, "x")])
def test_what_is_no_error_class_is_refused(failures: Any) -> None:
    breaker = CircuitBreaker(MemoryCircuitStore("c"), SETTINGS)
    with pytest.raises(MisuseError, match="it takes an Exception class"):
        breaker.protect(failures=failures)
    with pytest.raises(MisuseError, match="it takes an Exception class"):
        breaker.guard(failures=failures)


def test_plain_functions_are_protected_without_an_event_loop(store: CountingStore) -> None:
    with CircuitBreaker(store, SETTINGS) as breaker:

        @breaker.protect
        def call(error: Exception | None) -> int:
            if error:
                raise error
            return 7

        assert call(None) == 7
        for _ in range(2):
            with pytest.raises(OSError):
                call(OSError("down"))
        with pytest.raises(CircuitOpenError):
            call(None)
        assert state_of(breaker) is CircuitState.OPEN
        for _ in range(2):  # a plain block, too
            with pytest.raises(CircuitOpenError), breaker.guard():
                pytest.fail("was entered")
    assert not [each for each in threading.enumerate() if each.name == "breaker"]


def test_plain_probe_closes_the_circuit(store: CountingStore) -> None:
    with CircuitBreaker(store, SETTINGS) as breaker:
        for _ in range(2):
            with pytest.raises(OSError), breaker.guard():
                raise OSError
        breaker.run(breaker.approve(1, "ann"))
        with breaker.guard():
            pass
        assert breaker.circuit.state is CircuitState.CLOSED


async def test_plain_function_in_a_thread_uses_the_breaker_of_the_loop(
    breaker: CircuitBreaker,
) -> None:
    @breaker.protect
    def call() -> None:
        raise OSError

    for _ in range(2):
        with pytest.raises(OSError):
            await asyncio.to_thread(call)
    assert state_of(breaker) is CircuitState.OPEN


def test_coroutine_function_on_another_loop_is_protected(store: CountingStore) -> None:
    with CircuitBreaker(store, SETTINGS) as breaker:

        @breaker.protect
        async def call() -> None:
            raise OSError

        for _ in range(2):
            with pytest.raises(OSError):
                asyncio.run(call())
        with pytest.raises(CircuitOpenError):
            asyncio.run(call())


async def test_plain_call_on_an_event_loop_is_refused(breaker: CircuitBreaker) -> None:
    """The call would wait for the loop that it blocks."""
    called = False

    @breaker.protect
    def call() -> None:
        nonlocal called
        called = True

    with pytest.raises(MisuseError, match="would block this thread's event loop"):
        call()
    assert not called


def test_plain_call_before_the_start_is_refused(store: CountingStore) -> None:
    breaker = CircuitBreaker(store, SETTINGS)
    with pytest.raises(MisuseError, match="circuit 'c' was not started"), breaker.guard():
        pytest.fail("was entered")


async def test_waiting_for_a_method_on_an_event_loop_is_refused(breaker: CircuitBreaker) -> None:
    with pytest.raises(MisuseError, match="would block"):
        breaker.run(breaker.refresh())


def test_call_that_outlives_its_breaker_ends(store: CountingStore) -> None:
    """Its outcome is not counted any more, and the caller gets its own error."""
    breaker = CircuitBreaker(store, SETTINGS)
    with breaker:
        guard = breaker.guard()
        guard.__enter__()
        failing = breaker.guard()
        failing.__enter__()
    guard.__exit__(None, None, None)
    with pytest.raises(OSError):
        try:
            raise OSError
        except OSError as error:
            failing.__exit__(OSError, error, None)
            raise


async def test_plain_start_of_a_started_breaker_is_refused(breaker: CircuitBreaker) -> None:
    with pytest.raises(MisuseError, match="started already"), breaker:
        pytest.fail("was entered")


def test_plain_function_that_returns_an_awaitable_is_refused(store: CountingStore) -> None:
    """Its outcome is not known yet, so it is neither a success nor a failure."""
    with CircuitBreaker(store, SETTINGS) as breaker:
        for _ in range(3):
            with pytest.raises(MisuseError, match=r"Caller\.plain returned an awaitable"):
                breaker.protect(Caller().plain)()
        assert breaker.circuit.failures == 0


def test_breaker_may_be_started_again_without_an_event_loop(store: CountingStore) -> None:
    breaker = CircuitBreaker(store, SETTINGS)
    for _ in range(2):
        with breaker, breaker.guard():
            pass


def test_failed_start_ends_the_thread(clock: ManualClock) -> None:
    class Broken(MemoryCircuitStore):
        async def snapshot(self, rules: Rules) -> Change:
            raise KeyError("broken")

    with pytest.raises(KeyError), CircuitBreaker(Broken("c"), SETTINGS):
        pytest.fail("was entered")
    assert not [each for each in threading.enumerate() if each.name == "breaker"]


class SilentStore(MemoryCircuitStore):
    """A store that never answers when a failure is recorded."""

    def __init__(self) -> None:
        super().__init__("c")
        self.asked = threading.Event()

    async def record_failure(
        self, rules: Rules, failure_id: str, error: str, permit: Permit
    ) -> Change:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("is_plain", [True, False])
def test_error_of_a_call_is_kept_when_the_breaker_ends_meanwhile(is_plain: bool) -> None:
    """A shutdown while the store is slow loses the failure's record, not the caller's error."""
    store = SilentStore()
    breaker = CircuitBreaker(store, SETTINGS)

    @breaker.protect
    def plain() -> None:
        raise OSError("down")

    @breaker.protect
    async def awaited() -> None:
        raise OSError("down")

    with ThreadPoolExecutor() as pool:
        with breaker:
            called = pool.submit(plain if is_plain else lambda: asyncio.run(awaited()))
            assert store.asked.wait(HANG_SECONDS)
        with pytest.raises(OSError, match="down"):
            called.result(HANG_SECONDS)


async def test_cancellation_while_a_failure_is_recorded_is_no_other_error() -> None:
    store = SilentStore()
    async with CircuitBreaker(store, SETTINGS) as breaker:

        async def call() -> None:
            async with breaker.guard():
                raise OSError

        task = asyncio.create_task(call())
        while not store.asked.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_breaker_whose_loop_has_ended_is_not_started(store: CountingStore) -> None:
    """Only calls without a loop of the breaker still work: those of coroutine functions."""
    breaker = CircuitBreaker(store, SETTINGS)
    asyncio.run(breaker.start())

    @breaker.protect
    async def call() -> int:
        return 7

    assert asyncio.run(call()) == 7
    with pytest.raises(MisuseError, match="its event loop has ended"):
        breaker.protect(print)()
    with pytest.raises(MisuseError, match="its event loop has ended"):
        breaker.run(breaker.refresh())
    with pytest.raises(MisuseError, match="has ended without `aclose`"), breaker:
        pytest.fail("was entered")


FORKING = """
import asyncio, os, signal, sys
from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore, MisuseError

with CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c")) as breaker:

    @breaker.protect
    def plain():
        raise OSError

    @breaker.protect
    async def awaited():
        raise OSError

    if os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
    signal.alarm(20)
    for call in (plain, lambda: asyncio.run(awaited())):
        try:
            call()
        except MisuseError as error:
            print(error, flush=True)
    os._exit(7)
"""


def test_call_in_a_forked_process_is_refused() -> None:
    """The thread of the breaker does not run there, so the call would wait forever."""
    done = subprocess.run(
        [sys.executable, "-c", FORKING], check=False, capture_output=True, text=True
    )
    assert done.returncode == 7
    assert done.stdout.count("'c' was started before a fork") == 2
