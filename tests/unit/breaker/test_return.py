"""The end of a store outage: reconciliation of the local state with the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitState,
    ManualClock,
    MemoryPublisher,
    Permit,
)
from breaker.clock import NowUs
from breaker.state import Change, Rules
from tests.support.breaker.unreliable_store import UnreliableStore, pass_time, settle, until

SETTINGS = BreakerSettings(
    name="c", failure_threshold=3, half_open_permits=1, store_grace_seconds=30, poll_seconds=1
)
RULES = SETTINGS.rules("elsewhere:1")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class SlowToRecord(UnreliableStore):
    """A store that records a failure once `may_record` is set."""

    def __init__(self, name: str, *, now_us: NowUs) -> None:
        super().__init__(name, now_us=now_us)
        self.may_record = asyncio.Event()
        self.may_record.set()

    async def record_failure(
        self, rules: Rules, failure_id: str, error: str, permit: Permit
    ) -> Change:
        await self.may_record.wait()
        return await super().record_failure(rules, failure_id, error, permit)


@pytest.fixture
def store(clock: ManualClock) -> SlowToRecord:
    return SlowToRecord("c", now_us=clock.now_us)


@pytest.fixture
def publisher() -> MemoryPublisher:
    return MemoryPublisher()


@pytest.fixture
async def breaker(
    store: UnreliableStore, clock: ManualClock, publisher: MemoryPublisher
) -> AsyncIterator[CircuitBreaker]:
    async with CircuitBreaker(store, SETTINGS, clock=clock, publisher=publisher) as made:
        yield made


async def test_opening_during_outage_is_restored_to_store(
    store: UnreliableStore,
    breaker: CircuitBreaker,
    clock: ManualClock,
    publisher: MemoryPublisher,
) -> None:
    """After the outage the store has the opening, with the same alert id."""
    store.away = True
    await pass_time(clock, 32)
    permit = await breaker.try_acquire()
    for number in range(3):
        await breaker.record_failure(f"{number}", "boom", permit)
    store.away = False
    await pass_time(clock, 2)
    shared = (await store.snapshot(RULES)).circuit
    assert (shared.state, shared.generation) == (CircuitState.OPEN, 1)
    assert [entry.reason for entry in await store.history(9)] == [
        "restored: 3 failures within 30 s (threshold 3); last error: boom"
    ]
    assert (breaker.circuit.state, breaker.circuit.degraded) == (CircuitState.OPEN, False)
    await until(lambda: len(publisher.published) == 2)
    assert {alert.id for alert in publisher.published} == {"c:1:opened"}
    assert (await breaker.approve(1, "ann")).state is CircuitState.HALF_OPEN


async def test_failures_during_outage_are_recorded_after_outage(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """Two local failures and one of another instance reach the threshold of three."""
    store.away = True
    await pass_time(clock, 32)
    permit = await breaker.try_acquire()
    await breaker.record_failure("a", "boom", permit)
    await breaker.record_failure("b", "boom", permit)
    store.away = False
    await pass_time(clock, 2)
    assert breaker.circuit.failures == 2
    await store.record_failure(RULES, "c", "boom", Permit(0))
    await until(lambda: breaker.circuit.state is CircuitState.OPEN)


async def test_later_state_of_store_replaces_local_state(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """The instance restores nothing if the store's state is later."""
    store.away = True
    await pass_time(clock, 32)
    permit = await breaker.try_acquire()
    for number in range(3):
        await breaker.record_failure(f"{number}", "boom", permit)
    store.away = False
    for number in range(3):
        await store.record_failure(RULES, f"o{number}", "boom", Permit(0))
    await store.close(RULES, 1, "ann", "fine")
    await pass_time(clock, 2)
    assert (breaker.circuit.state, breaker.circuit.generation) == (CircuitState.CLOSED, 1)
    assert breaker.circuit.admits
    assert [entry.event for entry in await store.history(9)] == ["closed", "opened"]


async def test_emptied_store_gets_its_state_back(
    store: UnreliableStore,
    breaker: CircuitBreaker,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The circuit stays open in generation 2, so no generation is used twice."""
    for generation in range(2):
        permit = await breaker.try_acquire()
        for number in range(3):
            await breaker.record_failure(f"{generation}/{number}", "boom", permit)
        if generation == 0:
            await breaker.close_circuit(1, "ann")
    store.lose_everything()
    assert (await store.snapshot(RULES)).circuit.generation == 0
    await pass_time(clock, 2)
    shared = (await store.snapshot(RULES)).circuit
    assert (shared.state, shared.generation) == (CircuitState.OPEN, 2)
    assert shared.opened_at == breaker.circuit.opened_at
    assert "has lost generation 2" in caplog.text


async def test_opening_on_emptied_store_has_next_generation(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """The store loses generation 1; the next opening is generation 2, not 1."""
    permit = await breaker.try_acquire()
    for number in range(3):
        await breaker.record_failure(f"{number}", "boom", permit)
    await breaker.close_circuit(1, "ann")
    permit = await breaker.try_acquire()
    store.lose_everything()
    for number in range(3):
        circuit = await breaker.record_failure(f"again {number}", "boom", permit)
    assert (circuit.state, circuit.generation) == (CircuitState.OPEN, 2)


async def test_expired_failures_are_not_recorded_after_outage(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """A failure older than the window says nothing about the present."""
    store.away = True
    await pass_time(clock, 32)
    permit = await breaker.try_acquire()
    await breaker.record_failure("a", "boom", permit)
    await breaker.record_failure("b", "boom", permit)
    await pass_time(clock, 31)
    store.away = False
    await pass_time(clock, 2)
    assert not breaker.circuit.degraded
    assert (await store.snapshot(RULES)).circuit.failures == 0


async def test_failure_during_reconciliation_counts(
    store: SlowToRecord, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """Two failures are local; the third happens while these are recorded in the store."""
    store.away = True
    await pass_time(clock, 32)
    permit = await breaker.try_acquire()
    await breaker.record_failure("a", "boom", permit)
    await breaker.record_failure("b", "boom", permit)
    store.may_record.clear()
    store.away = False
    await pass_time(clock, 1)
    third = asyncio.create_task(breaker.record_failure("c", "boom", permit))
    await settle()
    store.may_record.set()
    await third
    await pass_time(clock, 2)
    shared = (await store.snapshot(RULES)).circuit
    assert (shared.state, shared.generation) == (CircuitState.OPEN, 1)
    assert breaker.circuit.state is CircuitState.OPEN
    assert not breaker.circuit.degraded


@pytest.mark.parametrize("long_outage", [False, True])
async def test_alerts_of_one_outage_survive_the_next_outage(
    store: UnreliableStore,
    breaker: CircuitBreaker,
    clock: ManualClock,
    publisher: MemoryPublisher,
    long_outage: bool,
) -> None:
    """Local alerts are published in order once both the topic and the store answer."""
    permit = await breaker.try_acquire()
    for number in range(3):
        await breaker.record_failure(f"{number}", "boom", permit)
    await breaker.approve(1, "ann")
    await until(lambda: len(publisher.published) == 2)
    publisher.fail_with = OSError("down")
    store.away = True
    await pass_time(clock, 32)
    await breaker.record_successes(1, await breaker.try_acquire())
    assert breaker.circuit.admits
    for _ in range(2):
        store.away = False
        await pass_time(clock, 3)
        store.away = True
        await pass_time(clock, 32 if long_outage else 2)
    store.away = False
    publisher.fail_with = None
    await pass_time(clock, 32)
    assert [alert.id for alert in publisher.published] == [
        "c:1:opened",
        "c:1:half_opened",
        "c:1:closed",
    ]


async def test_two_openings_during_outage_become_one(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock, publisher: MemoryPublisher
) -> None:
    """Two instances reconcile at once: one generation, one alert id, one history entry."""
    other = CircuitBreaker(store, SETTINGS, clock=clock, publisher=publisher, instance="other:1")
    async with other:
        store.away = True
        await pass_time(clock, 32)
        for instance in (breaker, other):
            permit = await instance.try_acquire()
            for number in range(3):
                await instance.record_failure(f"{instance.instance}/{number}", "boom", permit)
        store.away = False
        await asyncio.gather(breaker.refresh(), other.refresh())
        await pass_time(clock, 32)
        shared = (await store.snapshot(RULES)).circuit
        assert (shared.state, shared.generation) == (CircuitState.OPEN, 1)
        assert [entry.event for entry in await store.history(9)] == ["opened"]
        assert {alert.id for alert in publisher.published} == {"c:1:opened"}
        assert not breaker.circuit.degraded
        assert not other.circuit.degraded
