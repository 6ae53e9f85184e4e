"""An instance's behaviour during an outage of the store."""

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


async def test_outage_starts_with_hold(
    store: UnreliableStore,
    breaker: CircuitBreaker,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A closed circuit on hold refuses starts, and the outage is logged as an error."""
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


async def test_short_outage_delays_failure(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """A failure is retried, and recorded once the store answers again."""
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


async def test_instance_decides_alone_after_grace_time(
    store: UnreliableStore,
    breaker: CircuitBreaker,
    clock: ManualClock,
    publisher: MemoryPublisher,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Work continues with a local window, which opens at the same threshold."""
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


async def test_open_circuit_stays_open_during_outage(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """A store outage is no approval."""
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
    """During the grace time no probe starts in HALF_OPEN, and no success is lost."""
    permit = await breaker.try_acquire()
    for number in range(3):
        await breaker.record_failure(f"{number}", "boom", permit)
    await breaker.approve(1, "ann")
    probe = await breaker.try_acquire()
    store.away = True
    with pytest.raises(CircuitOpenError):
        await breaker.try_acquire()
    await breaker.release(Permit(1, "unknown"))
    succeeding = asyncio.create_task(breaker.record_successes(1, probe))
    await pass_time(clock, 3)
    store.away = False
    await pass_time(clock, 2)
    assert (await succeeding).state is CircuitState.CLOSED


async def test_half_open_instance_probes_alone_after_grace_time(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """After the grace time the instance grants local permits; its closing is restored."""
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


async def test_start_during_outage_is_on_hold(store: UnreliableStore, clock: ManualClock) -> None:
    """Starting raises no error; work starts once the store answers."""
    store.away = True
    async with CircuitBreaker(store, SETTINGS, clock=clock) as breaker:
        assert breaker.circuit.holding
        store.away = False
        await pass_time(clock, 2)
        assert breaker.circuit.admits


async def test_zero_grace_time_means_no_hold(store: UnreliableStore, clock: ManualClock) -> None:
    """With a grace time of 0 the instance decides alone at once."""
    settings = BreakerSettings(name="c", store_grace_seconds=0)
    async with CircuitBreaker(store, settings, clock=clock) as breaker:
        store.away = True
        circuit = await breaker.record_failure("a", "boom", Permit(0))
        assert (circuit.failures, circuit.degraded, circuit.admits) == (1, True, True)


async def test_successes_are_never_retried_during_outage(
    store: UnreliableStore, clock: ManualClock
) -> None:
    """Successes for the ratio rule are lost during the grace time, then counted locally."""
    settings = BreakerSettings(name="c", failure_ratio=0.5)
    async with CircuitBreaker(store, settings, clock=clock) as breaker:
        store.away = True
        assert (await breaker.record_successes(5, Permit(0))).holding
        await pass_time(clock, 32)
        assert (await breaker.record_successes(5, Permit(0))).successes == 5
