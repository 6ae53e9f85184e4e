"""The store goes away: what an instance does meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitOpenError,
    CircuitState,
    ManualClock,
    MemoryPublisher,
    Permit,
    StoreUnavailableError,
)
from tests.support.breaker.unreliable_store import UnreliableStore, pass_time, until

SETTINGS = BreakerSettings(
    name="c", failure_threshold=3, half_open_permits=1, store_grace_seconds=30, poll_seconds=1
)
RULES = SETTINGS.rules("elsewhere:1")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> UnreliableStore:
    return UnreliableStore("c", now_us=clock.now_us)


@pytest.fixture
def publisher() -> MemoryPublisher:
    return MemoryPublisher()


@pytest.fixture
async def breaker(
    store: UnreliableStore, clock: ManualClock, publisher: MemoryPublisher
) -> AsyncIterator[CircuitBreaker]:
    async with CircuitBreaker(store, SETTINGS, clock=clock, publisher=publisher) as made:
        yield made


async def go_away(store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock) -> None:
    store.away = True
    await pass_time(clock, 1)
    assert breaker.circuit.holding


async def test_first_everything_holds(
    store: UnreliableStore,
    breaker: CircuitBreaker,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Closed but on hold: nothing starts, and it is said loudly."""
    await go_away(store, breaker, clock)
    circuit = breaker.circuit
    assert (circuit.state, circuit.degraded, circuit.admits) == (CircuitState.CLOSED, True, False)
    with pytest.raises(
        CircuitOpenError, match="on hold because its store does not answer"
    ) as refused:
        await breaker.try_acquire()
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 30
    assert [r.levelno for r in caplog.records if "nothing starts for up to 30 s" in r.message] == [
        logging.ERROR
    ]


async def test_a_short_outage_only_delays(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """A failure that could not be recorded waits, and is recorded once the store is back."""
    permit = await breaker.try_acquire()
    store.away = True
    recording = asyncio.create_task(breaker.record_failure("a", "boom", permit))
    await pass_time(clock, 10)
    assert not recording.done()
    store.away = False
    await pass_time(clock, 1)
    assert (await recording).failures == 1
    await until(lambda: breaker.circuit.admits)
    assert (await store.snapshot(RULES)).circuit.failures == 1


async def test_after_the_grace_time_the_instance_decides_alone(
    store: UnreliableStore,
    breaker: CircuitBreaker,
    clock: ManualClock,
    publisher: MemoryPublisher,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Work goes on with a window of its own, which opens as the shared one would."""
    store.away = True
    await pass_time(clock, 32)
    assert (breaker.circuit.admits, breaker.circuit.degraded) == (True, True)
    assert "this instance decides alone" in caplog.text
    permit = await breaker.try_acquire()
    for number in range(3):
        circuit = await breaker.record_failure(f"{number}", "boom", permit)
    assert (circuit.state, circuit.generation, circuit.degraded) == (CircuitState.OPEN, 1, True)
    await until(lambda: len(publisher.published) == 1)
    assert publisher.published[0].id == "c:1:opened"


async def test_an_open_circuit_stays_open_without_its_store(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """Losing the store is no approval."""
    permit = await breaker.try_acquire()
    for number in range(3):
        await breaker.record_failure(f"{number}", "boom", permit)
    store.away = True
    await pass_time(clock, 40)
    assert (breaker.circuit.state, breaker.circuit.degraded) == (CircuitState.OPEN, True)
    with pytest.raises(CircuitOpenError):
        await breaker.try_acquire()
    with pytest.raises(StoreUnavailableError):
        await breaker.approve(1, "ann")


async def test_probes_wait_for_the_store(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """Half-open: no new probe during the grace time, and a probe's success is not lost."""
    permit = await breaker.try_acquire()
    for number in range(3):
        await breaker.record_failure(f"{number}", "boom", permit)
    await breaker.approve(1, "ann")
    probe = await breaker.try_acquire()
    store.away = True
    with pytest.raises(CircuitOpenError):
        await breaker.try_acquire()
    await breaker.release(Permit(1, "nobody"))
    succeeding = asyncio.create_task(breaker.record_successes(1, probe))
    await pass_time(clock, 3)
    store.away = False
    await pass_time(clock, 2)
    assert (await succeeding).state is CircuitState.CLOSED


async def test_half_open_alone_probes_alone(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """After the grace time the instance gives itself permits, and closes for everybody."""
    permit = await breaker.try_acquire()
    for number in range(3):
        await breaker.record_failure(f"{number}", "boom", permit)
    await breaker.approve(1, "ann")
    store.away = True
    await pass_time(clock, 32)
    probe = await breaker.try_acquire()
    assert probe.probe_id is not None
    await breaker.record_successes(1, probe)
    assert breaker.circuit.admits
    store.away = False
    await pass_time(clock, 2)
    assert (await store.snapshot(RULES)).circuit.state is CircuitState.CLOSED


async def test_starting_without_a_store_is_starting_on_hold(
    store: UnreliableStore, clock: ManualClock
) -> None:
    """No exception; admitted when the store is there."""
    store.away = True
    async with CircuitBreaker(store, SETTINGS, clock=clock) as breaker:
        assert breaker.circuit.holding
        store.away = False
        await pass_time(clock, 2)
        assert breaker.circuit.admits


async def test_with_no_grace_time_there_is_no_hold(
    store: UnreliableStore, clock: ManualClock
) -> None:
    """Zero means: go on at once."""
    settings = BreakerSettings(name="c", store_grace_seconds=0)
    async with CircuitBreaker(store, settings, clock=clock) as breaker:
        store.away = True
        circuit = await breaker.record_failure("a", "boom", Permit(0))
        assert (circuit.failures, circuit.degraded, circuit.admits) == (1, True, True)


async def test_successes_for_the_ratio_rule_never_wait(
    store: UnreliableStore, clock: ManualClock
) -> None:
    """They are statistics: lost during the grace time, counted alone after it."""
    settings = BreakerSettings(name="c", failure_ratio=0.5)
    async with CircuitBreaker(store, settings, clock=clock) as breaker:
        store.away = True
        assert (await breaker.record_successes(5, Permit(0))).holding
        await pass_time(clock, 32)
        assert (await breaker.record_successes(5, Permit(0))).successes == 5
