"""The circuit breaker on a memory store, with a clock that tests advance."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitIsolatedError,
    CircuitOpenError,
    CircuitState,
    ManualClock,
    MemoryCircuitStore,
    MemoryPublisher,
    Permit,
    StaleGenerationError,
)
from breaker.stores import memory_circuit

SETTINGS = BreakerSettings(name="c", failure_threshold=3, half_open_permits=2)


class CountingStore(MemoryCircuitStore):
    """A memory store that counts its operations."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__("c", now_us=clock.now_us)
        self.asked: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        if name in {"snapshot", "acquire", "release", "record_failure", "record_successes"}:
            self.asked[name] += 1
        return super().__getattribute__(name)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> CountingStore:
    return CountingStore(clock)


@pytest.fixture
def publisher() -> MemoryPublisher:
    return MemoryPublisher()


@pytest.fixture
async def breaker(
    store: CountingStore, clock: ManualClock, publisher: MemoryPublisher
) -> AsyncIterator[CircuitBreaker]:
    made = CircuitBreaker(store, SETTINGS, publisher=publisher, clock=clock, instance="here:1")
    async with made:
        yield made


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition holds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def open_it(breaker: CircuitBreaker) -> None:
    permit = await breaker.try_acquire()
    for number in range(3):
        await breaker.record_failure(f"{permit.generation}/{number}", "boom", permit)


async def test_late_snapshot_does_not_undo_opening(
    breaker: CircuitBreaker, store: CountingStore
) -> None:
    """A snapshot from before the opening arrives after it and is ignored."""
    snapshot = store.snapshot
    before: list[Any] = []

    async def late(rules: Any) -> Any:
        before.append(await snapshot(rules))
        if len(before) == 1:
            await open_it(breaker)
        return before[0]

    store.snapshot = late  # type: ignore[method-assign]
    await breaker.refresh()
    assert before
    assert breaker.circuit.state is CircuitState.OPEN
    store.snapshot = snapshot  # type: ignore[method-assign]


async def test_closed_circuit_sends_no_request_to_store(
    breaker: CircuitBreaker, store: CountingStore
) -> None:
    """In CLOSED, permits, successes and releases do no I/O."""
    await until(lambda: store.asked["snapshot"] >= 2)
    before = store.asked.copy()
    for _ in range(1000):
        permit = await breaker.try_acquire()
        await breaker.record_successes(1, permit)
        await breaker.release(permit)
    assert store.asked == before
    assert permit == Permit(0)


async def test_open_circuit_refuses_without_request_to_store(
    breaker: CircuitBreaker, store: CountingStore
) -> None:
    """The refusal has the circuit, its generation and the reason."""
    await open_it(breaker)
    before = store.asked.copy()
    with pytest.raises(CircuitOpenError) as refused:
        await breaker.try_acquire()
    assert store.asked == before
    assert refused.value.retry_after is None
    assert refused.value.circuit is breaker.circuit
    assert str(refused.value) == (
        "circuit 'c' is open (generation 1): 3 failures within 30 s (threshold 3); last error: boom"
    )


async def test_failure_takes_one_store_operation(
    breaker: CircuitBreaker, store: CountingStore
) -> None:
    """Counting, deciding and opening together take one round trip."""
    await until(lambda: store.asked["snapshot"] >= 2)
    before = store.asked.copy()
    await open_it(breaker)
    assert store.asked - before == Counter(record_failure=3)
    assert breaker.circuit.state is CircuitState.OPEN


async def test_breakers_on_one_store_receive_pushed_changes(
    breaker: CircuitBreaker, store: CountingStore, clock: ManualClock
) -> None:
    """Changes arrive by push, without a poll."""
    async with CircuitBreaker(store, SETTINGS, clock=clock, instance="there:2") as other:
        await open_it(breaker)
        await until(lambda: other.circuit.state is CircuitState.OPEN)
        known = other.circuit
        waiting = asyncio.create_task(other.wait_for_change(known, timeout=60))
        await breaker.approve(1, "ann")
        assert (await waiting).state is CircuitState.HALF_OPEN


async def test_wait_for_change_returns_after_timeout(breaker: CircuitBreaker) -> None:
    """Without a change the result is the current state."""
    assert await breaker.wait_for_change(breaker.circuit, timeout=0) is breaker.circuit


async def test_wait_for_change_returns_at_once_after_change(breaker: CircuitBreaker) -> None:
    """The given snapshot is older than the current state."""
    known = breaker.circuit
    await open_it(breaker)
    assert (await breaker.wait_for_change(known, timeout=60)).state is CircuitState.OPEN


async def test_polling_replaces_lost_push(
    breaker: CircuitBreaker, store: CountingStore, clock: ManualClock
) -> None:
    """A lost push delays the change by one polling interval."""
    store._watchers.clear()
    for number in range(3):
        await store.record_failure(SETTINGS.rules("x"), f"{number}", "boom", Permit(0))
    assert breaker.circuit.state is CircuitState.CLOSED
    await until(lambda: clock.sleeping > 0)
    clock.advance(SETTINGS.poll_seconds)
    await until(lambda: breaker.circuit.state is CircuitState.OPEN)


async def test_half_open_circuit_grants_permits_and_closes(
    breaker: CircuitBreaker, publisher: MemoryPublisher
) -> None:
    """Two probes start, a third is refused, and two successes close; alerts are in order."""
    await open_it(breaker)
    await breaker.approve(1, "ann")
    probes = [await breaker.try_acquire() for _ in range(2)]
    assert {probe.generation for probe in probes} == {1}
    assert None not in {probe.probe_id for probe in probes}
    with pytest.raises(CircuitOpenError) as refused:
        await breaker.try_acquire()
    assert refused.value.retry_after == 1.0
    await breaker.release(probes[0])
    probes[0] = await breaker.try_acquire()
    for probe in probes:
        await breaker.record_successes(1, probe)
    assert breaker.circuit.state is CircuitState.CLOSED
    assert breaker.circuit.failures == 0
    assert await breaker.try_acquire() == Permit(1)
    await until(lambda: len(publisher.published) == 3)
    assert [alert.id for alert in publisher.published] == [
        "c:1:opened",
        "c:1:half_opened",
        "c:1:closed",
    ]


async def test_stale_outcomes_and_approvals_change_nothing(
    breaker: CircuitBreaker,
) -> None:
    """C7: neither an approval nor outcomes of generation 1 change generation 2."""
    old = await breaker.try_acquire()
    await open_it(breaker)
    await breaker.approve(1, "ann")
    for failure in ("again", "and again", "third"):
        probe = await breaker.try_acquire()
        await breaker.record_failure(failure, "boom", probe)
    assert (breaker.circuit.state, breaker.circuit.generation) == (CircuitState.OPEN, 2)
    for stale in (old, probe):
        assert (await breaker.record_failure("late", "boom", stale)).generation == 2
        await breaker.release(stale)
    await breaker.record_successes(1, probe)
    with pytest.raises(StaleGenerationError) as refused:
        await breaker.approve(1, "ann")
    assert (
        "generation 1 of circuit 'c' is not the current one; the circuit is open in generation 2"
        in str(refused.value)
    )
    with pytest.raises(StaleGenerationError):
        await breaker.close_circuit(1, "ann")
    assert (breaker.circuit.state, breaker.circuit.generation) == (CircuitState.OPEN, 2)


async def test_only_closing_ends_isolation(breaker: CircuitBreaker) -> None:
    """An approval is refused, and its error says to close the circuit."""
    assert (await breaker.isolate("ann", "maintenance")).state is CircuitState.ISOLATED
    with pytest.raises(CircuitIsolatedError, match="close the circuit instead"):
        await breaker.approve(1, "bob")
    with pytest.raises(CircuitOpenError, match=r"is isolated \(generation 1\): maintenance"):
        await breaker.try_acquire()
    assert (await breaker.close_circuit(1, "bob")).state is CircuitState.CLOSED
    assert [entry.by for entry in await breaker.history()] == ["bob", "ann"]


async def test_refusal_has_seconds_until_automatic_recovery(
    clock: ManualClock, store: CountingStore
) -> None:
    """`retry_after` is the rest of the break; a poll makes the transition."""
    settings = BreakerSettings(
        name="c",
        failure_threshold=3,
        recovery="automatic",  # type: ignore[arg-type]
        break_seconds=5,
    )
    async with CircuitBreaker(store, settings, clock=clock) as breaker:
        await open_it(breaker)
        with pytest.raises(CircuitOpenError) as refused:
            await breaker.try_acquire()
        assert refused.value.retry_after == 5
        for _ in range(5):
            await until(lambda: clock.sleeping > 0)
            clock.advance(1)
        await until(lambda: breaker.circuit.state is CircuitState.HALF_OPEN)
        assert breaker.circuit.by == "timer"


async def test_batch_of_successes_takes_one_store_operation(
    clock: ManualClock, store: CountingStore
) -> None:
    """With a ratio rule, 500 successes take one operation."""
    settings = BreakerSettings(name="c", failure_ratio=0.5)
    async with CircuitBreaker(store, settings, clock=clock) as breaker:
        before = store.asked["record_successes"]
        circuit = await breaker.record_successes(500, await breaker.try_acquire())
        assert circuit.successes == 500
        assert store.asked["record_successes"] == before + 1


async def test_success_reports_are_bounded(
    monkeypatch: pytest.MonkeyPatch, store: CountingStore
) -> None:
    """The store keeps the ids of the newest reports only."""
    monkeypatch.setattr(memory_circuit, "SUCCESS_REPORTS", 3)
    rules = BreakerSettings(name="c", failure_ratio=0.5).rules("here:1")
    counts = [
        (await store.record_successes(rules, report, 1, Permit(0))).circuit.successes
        for report in "abcdba"
    ]
    assert counts == [1, 2, 3, 4, 4, 5]


async def test_invalid_arguments_are_refused(breaker: CircuitBreaker) -> None:
    """The message names the argument and its value."""
    permit = await breaker.try_acquire()
    with pytest.raises(ValueError, match="failure_id is empty"):
        await breaker.record_failure("", "boom", permit)
    with pytest.raises(ValueError, match="count is -1"):
        await breaker.record_successes(-1, permit)
    with pytest.raises(ValueError, match="by is empty"):
        await breaker.approve(1, "  ")
    with pytest.raises(ValueError, match="limit is 0"):
        await breaker.history(0)


async def test_long_failure_ids_are_shortened_and_stay_distinct(
    breaker: CircuitBreaker, store: CountingStore
) -> None:
    """An id or error of a megabyte takes no megabyte in the store."""
    permit = await breaker.try_acquire()
    await breaker.record_failure("x" * 1_000_000 + "1", "e" * 1_000_000, permit)
    await breaker.record_failure("x" * 1_000_000 + "2", "\ud800", permit)
    assert breaker.circuit.failures == 2
    assert all(len(failure_id) <= 200 for failure_id in store.failure_ids(SETTINGS.rules("x")))


async def test_breaker_without_watcher_polls_for_each_permit(
    clock: ManualClock, store: CountingStore
) -> None:
    """A breaker that was not started receives no pushes."""
    breaker = CircuitBreaker(store, SETTINGS, clock=clock)
    assert await breaker.try_acquire() == Permit(0)
    for number in range(3):
        await store.record_failure(SETTINGS.rules("x"), f"{number}", "boom", Permit(0))
    with pytest.raises(CircuitOpenError):
        await breaker.try_acquire()
    await breaker.aclose()
