"""The store goes away, comes back, comes back with less: what the fleet does meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
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
    MemoryPublisher,
    Permit,
    StoreUnavailableError,
)
from breaker.state import Rules

SETTINGS = BreakerSettings(
    name="c", failure_threshold=3, half_open_permits=1, store_grace_seconds=30, poll_seconds=1
)
RULES = SETTINGS.rules("elsewhere:1")


class UnreliableStore(MemoryCircuitStore):
    """A memory store that can be out of reach, and can lose everything."""

    away = False

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not asyncio.iscoroutinefunction(found) or name == "aclose":
            return found

        async def unless_away(*arguments: Any) -> Any:
            if self.away:
                raise StoreUnavailableError("out of reach")
            return await found(*arguments)

        return unless_away

    async def changes(self, rules: Rules) -> AsyncGenerator[Circuit | None]:
        if self.away:
            raise StoreUnavailableError("out of reach")
        async for circuit in super().changes(rules):
            if self.away:
                raise StoreUnavailableError("out of reach")
            yield circuit

    def lose_everything(self) -> None:
        watchers = self._watchers
        MemoryCircuitStore.__init__(self, self.name, now_us=self._now_us)
        self._watchers = watchers


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


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def pass_time(clock: ManualClock, seconds: int) -> None:
    """Second by second, letting the watcher work in between."""
    for _ in range(seconds):
        await settle()
        clock.advance(1)
    await settle()


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


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
    with pytest.raises(CircuitOpenError, match="on hold, its store does not answer") as refused:
        await breaker.try_acquire()
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 30
    assert [r.levelno for r in caplog.records if "holding for up to 30 s" in r.message] == [
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


async def test_an_opening_made_alone_becomes_everybodys(
    store: UnreliableStore,
    breaker: CircuitBreaker,
    clock: ManualClock,
    publisher: MemoryPublisher,
) -> None:
    """When the store is back it holds the opening, with the same alert id, in its history."""
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
        "restored: 3 failures within 30 s (threshold 3); the last: boom"
    ]
    assert (breaker.circuit.state, breaker.circuit.degraded) == (CircuitState.OPEN, False)
    await until(lambda: len(publisher.published) == 2)
    assert {alert.id for alert in publisher.published} == {"c:1:opened"}
    assert (await breaker.approve(1, "ann")).state is CircuitState.HALF_OPEN


async def test_failures_counted_alone_are_recorded_when_the_store_is_back(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """Two here and one elsewhere reach the threshold of three together."""
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


async def test_what_the_others_decided_meanwhile_wins(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """A later state in the store is taken over, nothing is put back."""
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


async def test_a_store_restarted_empty_gets_its_state_back(
    store: UnreliableStore,
    breaker: CircuitBreaker,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Open in generation 2 before, open in generation 2 after; ids are never used twice."""
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


async def test_a_failure_on_an_emptied_store_counts_for_the_right_generation(
    store: UnreliableStore, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """Closed in generation 1, then emptied: the next opening is generation 2, not 1 again."""
    permit = await breaker.try_acquire()
    for number in range(3):
        await breaker.record_failure(f"{number}", "boom", permit)
    await breaker.close_circuit(1, "ann")
    permit = await breaker.try_acquire()
    store.lose_everything()
    for number in range(3):
        circuit = await breaker.record_failure(f"again {number}", "boom", permit)
    assert (circuit.state, circuit.generation) == (CircuitState.OPEN, 2)


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
