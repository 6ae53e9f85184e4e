"""The circuits of dependencies during an outage of the store, and after data loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from breaker import (
    Circuit,
    CircuitOpenError,
    CircuitState,
    DependencyCircuits,
    DependencySettings,
    ManualClock,
    Permit,
)
from tests.support.breaker.unreliable_dependencies import UnreliableDependencies
from tests.support.breaker.unreliable_store import UnreliableStore, pass_time, settle

SETTINGS = DependencySettings.from_mapping(
    {
        "BREAKER_NAME": "app",
        "BREAKER_FAILURE_THRESHOLD": "2",
        "BREAKER_STORE_GRACE_SECONDS": "10",
        "BREAKER_POLL_SECONDS": "1",
        "BREAKER_MAX_DEPENDENCIES": "2",
        "DEPENDENCY_BANK_RECOVERY": "manual",
    }
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> UnreliableDependencies:
    return UnreliableDependencies("app", now_us=clock.now_us)


@pytest.fixture
async def circuits(
    store: UnreliableDependencies, clock: ManualClock
) -> AsyncIterator[DependencyCircuits]:
    async with DependencyCircuits(store, SETTINGS, clock=clock, instance="one") as started:
        yield started


async def test_first_use_in_an_outage_holds_and_then_decides_alone(
    circuits: DependencyCircuits, store: UnreliableDependencies, clock: ManualClock
) -> None:
    """The name is registered after the outage, and the store gets the failures of the outage."""
    store.go_away()
    bank = await circuits.use("bank")
    assert bank is not None
    assert (bank.circuit.holding, bank.circuit.degraded) == (True, True)
    with pytest.raises(CircuitOpenError, match="on hold because its store does not answer"):
        await bank.try_acquire()
    await pass_time(clock, 11)
    permit = await bank.try_acquire()
    await bank.record_failure("f1", "down", permit)
    store.come_back()
    await pass_time(clock, 2)
    assert not bank.circuit.degraded
    assert await store.register((), 2) == {"bank"}
    assert bank.circuit.failures == 1


async def test_known_circuit_holds_in_an_outage(
    circuits: DependencyCircuits, store: UnreliableDependencies, clock: ManualClock
) -> None:
    bank = await circuits.use("bank")
    assert bank is not None
    store.go_away()
    await pass_time(clock, 2)
    assert circuits.find("bank") is bank
    assert bank.circuit.holding
    store.come_back()
    await pass_time(clock, 2)
    assert bank.circuit.admits


async def test_names_of_an_outage_obey_the_limit(
    circuits: DependencyCircuits, store: UnreliableDependencies, clock: ManualClock
) -> None:
    """An instance knows only its own names then; the store decides when it is back."""
    await store.register(("other",), 2)
    store.go_away()
    assert await circuits.use("a") is not None
    assert await circuits.use("b") is not None
    assert await circuits.use("c") is None
    store.come_back()
    await pass_time(clock, 3)
    assert len(circuits.circuits) == 2
    assert "other" in circuits.circuits
    assert circuits.circuits.keys() == await store.register((), 2)


async def test_start_in_an_outage_learns_the_names_after_it(
    store: UnreliableDependencies, clock: ManualClock
) -> None:
    await store.register(("bank",), 2)
    store.go_away()
    async with DependencyCircuits(store, SETTINGS, clock=clock) as circuits:
        assert not circuits.circuits
        store.come_back()
        await pass_time(clock, 2)
        assert circuits.circuits.keys() == {"bank"}


async def test_lost_names_and_states_are_restored(
    circuits: DependencyCircuits, store: UnreliableDependencies, clock: ManualClock
) -> None:
    """An emptied store gets back each name that was used here, and the open circuit."""
    bank = await circuits.use("bank")
    assert bank is not None
    for failure in ("f1", "f2"):
        await bank.record_failure(failure, "down", Permit(0))
    store.lose_everything()
    await pass_time(clock, 3)
    assert circuits.find("bank") is bank
    assert await store.register((), 2) == {"bank"}
    assert (bank.circuit.state, bank.circuit.generation) == (CircuitState.OPEN, 1)
    stored = await store.circuit("bank").snapshot(SETTINGS.of("bank").rules("other"))
    assert (stored.circuit.state, stored.circuit.generation) == (CircuitState.OPEN, 1)


async def test_push_in_an_outage_changes_no_state(
    circuits: DependencyCircuits, store: UnreliableDependencies, clock: ManualClock
) -> None:
    """Redis may push while its answers come too late; the instance holds until one is in time."""
    bank = await circuits.use("bank")
    assert bank is not None
    behind = store.circuit("bank")
    behind.away = True
    await pass_time(clock, 2)
    store._push(("bank", Circuit("app/bank", CircuitState.OPEN, 3)))
    await settle()
    assert (bank.circuit.holding, bank.circuit.generation) == (True, 0)
    behind.away = False
    await pass_time(clock, 2)
    assert bank.circuit.admits


async def test_state_of_an_outage_is_restored_after_it(
    circuits: DependencyCircuits, store: UnreliableDependencies, clock: ManualClock
) -> None:
    """The store gets the opening that this instance decided alone."""
    bank = await circuits.use("bank")
    assert bank is not None
    store.go_away()
    await pass_time(clock, 12)
    for failure in ("f1", "f2"):
        await bank.record_failure(failure, "down", await bank.try_acquire())
    assert (bank.circuit.state, bank.circuit.degraded) == (CircuitState.OPEN, True)
    store.come_back()
    await pass_time(clock, 3)
    assert not bank.circuit.degraded
    stored = await store.circuit("bank").snapshot(SETTINGS.of("bank").rules("other"))
    assert (stored.circuit.state, stored.circuit.generation) == (CircuitState.OPEN, 1)


class CountingDependencies(UnreliableDependencies):
    """Stores that count the circuits that were asked for."""

    asked = 0

    def circuit(self, dependency: str) -> UnreliableStore:
        self.asked += 1
        return super().circuit(dependency)


async def test_first_uses_at_the_same_time_share_one_request(clock: ManualClock) -> None:
    """Also if the event of one of them is cancelled."""
    store = CountingDependencies("app", now_us=clock.now_us)
    async with DependencyCircuits(store, SETTINGS, clock=clock) as circuits:
        uses = [asyncio.create_task(circuits.use("bank")) for _ in range(50)]
        await asyncio.sleep(0)
        uses[0].cancel()
        found = await asyncio.gather(*uses, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert {id(each) for each in found[1:]} == {id(circuits.circuits["bank"])}
        assert store.asked == 1
