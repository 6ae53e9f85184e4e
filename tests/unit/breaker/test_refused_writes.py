"""An instance whose store answers, but takes no writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitState,
    ManualClock,
    Permit,
    StoreUnavailableError,
)
from tests.support.breaker.unreliable_store import UnreliableStore, pass_time

SETTINGS = BreakerSettings(
    name="c", failure_threshold=3, half_open_permits=1, store_grace_seconds=30, poll_seconds=1
)
RULES = SETTINGS.rules("elsewhere:1")
WHY = "takes no writes: it is a replica"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> UnreliableStore:
    return UnreliableStore("c", now_us=clock.now_us)


@pytest.fixture
async def breaker(store: UnreliableStore, clock: ManualClock) -> AsyncIterator[CircuitBreaker]:
    async with CircuitBreaker(store, SETTINGS, clock=clock) as made:
        yield made


def logged(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.message for record in caplog.records)


async def test_poll_notices_it(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """No write is needed to notice it, and the circuit says why."""
    store.refuses = WHY
    await pass_time(clock, 1)
    assert (breaker.circuit.holding, breaker.circuit.problem) == (True, WHY)
    store.refuses = ""
    await pass_time(clock, 1)
    assert (breaker.circuit.admits, breaker.circuit.problem) == (True, "")


async def test_read_does_not_end_the_outage(
    store: UnreliableStore,
    breaker: CircuitBreaker,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Polls succeed all the time; the grace time runs out once, and the invocation continues."""
    permit = await breaker.try_acquire()
    store.refuses = WHY
    recording = asyncio.create_task(breaker.record_failure("a", "boom", permit))
    await pass_time(clock, 31)
    circuit = await recording
    assert (circuit.failures, circuit.degraded, circuit.problem) == (1, True, WHY)
    await pass_time(clock, 60)
    assert (breaker.circuit.degraded, breaker.circuit.holding) == (True, False)
    assert logged(caplog, "nothing starts for up to") == 1
    assert logged(caplog, "is usable again") == 0
    await breaker.record_failure("b", "boom", permit)
    store.refuses = ""
    await pass_time(clock, 2)
    assert (breaker.circuit.degraded, breaker.circuit.failures) == (False, 1)
    assert (await store.snapshot(RULES)).circuit.failures == 1
    assert logged(caplog, "is usable again") == 1


async def test_grace_time_is_not_repeated_if_only_polls_are_taken(
    store: UnreliableStore,
    breaker: CircuitBreaker,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An ACL may allow the poll's write and deny others; an invocation must still end."""
    permit = await breaker.try_acquire()
    store.refuses, store.refuses_polls = WHY, False
    recording = asyncio.create_task(breaker.record_failure("a", "boom", permit))
    await pass_time(clock, 32)
    circuit = await asyncio.wait_for(recording, 0.1)
    assert (circuit.failures, circuit.degraded) == (1, True)
    store.refuses = ""
    await pass_time(clock, 1)
    assert not breaker.circuit.degraded
    await pass_time(clock, 60)
    store.refuses = WHY
    again = asyncio.create_task(breaker.record_failure("b", "boom", permit))
    await pass_time(clock, 20)
    assert not again.done()
    store.refuses = ""
    await pass_time(clock, 1)
    await again


async def test_each_outage_has_its_own_grace_time(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """A server that takes no writes again and again is each time held for, as after timeouts."""
    store.away = True
    await pass_time(clock, 3)
    store.away = False
    await pass_time(clock, 25)
    for _ in range(4):
        store.refuses = WHY
        await pass_time(clock, 10)
        assert breaker.circuit.holding
        assert breaker.circuit.retry_after == 20 + 1
        store.refuses = ""
        await pass_time(clock, 10)
        assert not breaker.circuit.degraded


async def test_failures_of_the_outage_are_recorded_after_it(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """Opening alone is restored to the store once it takes writes."""
    permit = await breaker.try_acquire()
    store.refuses = WHY
    await pass_time(clock, 32)
    for number in range(3):
        await breaker.record_failure(f"{number}", "boom", permit)
    assert breaker.circuit.state is CircuitState.OPEN
    with pytest.raises(StoreUnavailableError, match=WHY):
        await breaker.approve(1, "ann")
    store.refuses = ""
    await pass_time(clock, 2)
    shared = (await store.snapshot(RULES)).circuit
    assert (shared.state, shared.generation) == (CircuitState.OPEN, 1)


async def test_full_store_is_no_outage(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """Freeing memory must not wait, and failures count."""
    store.refuses, store.is_full = "no memory", True
    await pass_time(clock, 3)
    assert (breaker.circuit.admits, breaker.circuit.degraded) == (True, False)
    assert breaker.circuit.problem == "no memory"
    recorded = await breaker.record_failure("a", "boom", Permit(0))
    assert (recorded.failures, recorded.degraded) == (1, False)
    store.refuses = ""
    await pass_time(clock, 1)
    assert breaker.circuit.problem == ""


@pytest.mark.parametrize("is_full", [False, True])
async def test_success_of_a_refused_poll_is_reported_again(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock, is_full: bool
) -> None:
    """Neither a replica nor a full store notes a report."""
    store.refuses, store.is_full = WHY, is_full
    breaker.note_success(0.1)
    await pass_time(clock, 2)
    assert breaker.circuit.last_success_at is None
    store.refuses = ""
    await pass_time(clock, 2)
    assert breaker.circuit.last_success_at is not None
