"""Isolation with an end, in both stores."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from breaker import (
    BreakerSettings,
    Circuit,
    CircuitState,
    CircuitStore,
    ManualClock,
    Permit,
    Recovery,
)
from breaker.alerts.base import AlertBatch
from breaker.state import Change
from tests.support.patience import HANG_SECONDS

SETTINGS = BreakerSettings(name="c", failure_threshold=1, half_open_permits=1)
RULES = SETTINGS.rules("here:1")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1000.0)


async def state(store: CircuitStore) -> tuple[str, int]:
    circuit = (await store.snapshot(RULES)).circuit
    return circuit.state, circuit.generation


async def isolate(store: CircuitStore, seconds: float = 0.0, reason: str = "release") -> Change:
    return await store.isolate(RULES, "ann", reason, seconds)


async def history(store: CircuitStore) -> list[tuple[str, int, str]]:
    return [(entry.event, entry.generation, entry.by) for entry in await store.history(10)]


async def fail(store: CircuitStore, generation: int, probe: str | None = None) -> None:
    await store.record_failure(RULES, f"a{generation}", "boom", Permit(generation, probe))


async def test_isolation_of_a_closed_circuit_ends_closed(
    store: CircuitStore, clock: ManualClock
) -> None:
    """The circuit is closed at the end, in the same generation, by the timer."""
    circuit = (await isolate(store, 60)).circuit
    assert (circuit.resume_at, circuit.retry_after) == (1060.0, 60.0)
    assert circuit.ends_as is CircuitState.CLOSED
    clock.advance(59.999999)
    assert await state(store) == ("isolated", 1)
    clock.advance(0.000001)
    change = await store.snapshot(RULES)
    assert (change.circuit.state, change.circuit.generation) == ("closed", 1)
    assert change.circuit.reason == "the isolation by ann is over"
    assert (change.transitions, change.circuit.resume_at, change.circuit.ends_as) == (1, None, None)
    assert await history(store) == [("closed", 1, "timer"), ("isolated", 1, "ann")]
    batch: AlertBatch = await store.claim_alerts(RULES, "t", 30, 10)
    assert [alert.id for alert in batch.alerts] == [
        f"{store.name}:1:isolated",
        f"{store.name}:1:closed",
    ]
    assert [alert.data["resume_at"] for alert in batch.alerts] == [1060.0, None]
    assert [alert.data["ends_as"] for alert in batch.alerts] == ["closed", None]


async def test_failure_counts_at_the_end_of_an_isolation(
    store: CircuitStore, clock: ManualClock
) -> None:
    """The timer closes the circuit first, and the failure is the first of the new window."""
    rules = BreakerSettings(name="c", failure_threshold=2).rules("here:1")
    await isolate(store, 60)
    clock.advance(60)
    change = await store.record_failure(rules, "a", "boom a", Permit(1))
    assert (change.outcome, change.transitions) == ("done", 1)
    assert (change.circuit.state, change.circuit.failures) == (CircuitState.CLOSED, 1)
    await store.record_failure(rules, "b", "boom b", Permit(1))
    assert await state(store) == ("open", 2)
    alerts = (await store.claim_alerts(RULES, "t", 30, 10)).alerts
    assert alerts[-1].data["errors"] == ["boom b", "boom a"]


async def test_isolation_of_an_open_circuit_ends_as_a_new_opening(
    store: CircuitStore, clock: ManualClock
) -> None:
    """The end has a generation and an `opened` alert of its own, so that somebody is asked."""
    await fail(store, 0)
    assert (await isolate(store, 60)).circuit.ends_as is CircuitState.OPEN
    clock.advance(60)
    circuit = (await store.snapshot(RULES)).circuit
    assert (circuit.state, circuit.generation, circuit.opened_at) == ("open", 3, 1060.0)
    assert (
        circuit.reason
        == "the isolation by ann is over, and the circuit was not closed before the isolation"
    )
    batch: AlertBatch = await store.claim_alerts(RULES, "t", 30, 10)
    assert [alert.id for alert in batch.alerts] == [
        f"{store.name}:1:opened",
        f"{store.name}:2:isolated",
        f"{store.name}:3:opened",
    ]
    assert (await store.approve(RULES, 3, "ann")).circuit.state is CircuitState.HALF_OPEN


async def test_isolation_of_a_half_open_circuit_ends_as_a_new_opening(
    store: CircuitStore, clock: ManualClock
) -> None:
    """Probes had not decided yet, so an operator decides again."""
    await fail(store, 0)
    await store.approve(RULES, 1, "ann")
    await isolate(store, 60)
    clock.advance(60)
    assert await state(store) == ("open", 3)


async def test_isolation_that_ends_as_an_opening_recovers_by_itself(
    store: CircuitStore, clock: ManualClock
) -> None:
    """With automatic recovery the new opening has the first break's length."""
    rules = BreakerSettings(name="c", recovery=Recovery.AUTOMATIC, break_seconds=5).rules("here:1")
    await store.restore(rules, Circuit("c", CircuitState.OPEN, 1, resume_at=1005.0))
    await store.isolate(rules, "ann", "release", 60)
    clock.advance(60)
    assert (await store.snapshot(rules)).circuit.resume_at == 1065.0
    clock.advance(5)
    assert (await store.snapshot(rules)).circuit.state is CircuitState.HALF_OPEN


async def test_isolation_without_an_end_stays(store: CircuitStore, clock: ManualClock) -> None:
    """Only closing ends the isolation, and repeating the command changes nothing."""
    circuit = (await isolate(store)).circuit
    assert (circuit.resume_at, circuit.retry_after) == (None, None)
    assert (await isolate(store)).outcome == "already"
    clock.advance(30 * 86_400)
    assert await state(store) == ("isolated", 1)


async def test_closing_by_hand_ends_a_timed_isolation(
    store: CircuitStore, clock: ManualClock
) -> None:
    """After the close the timer changes nothing."""
    await isolate(store, 60)
    circuit = (await store.close(RULES, 1, "bob", "done")).circuit
    assert (circuit.resume_at, circuit.ends_as) == (None, None)
    clock.advance(60)
    assert await history(store) == [("closed", 1, "bob"), ("isolated", 1, "ann")]


@pytest.mark.parametrize("opened", [False, True])
async def test_isolating_again_replaces_the_end(
    store: CircuitStore, clock: ManualClock, opened: bool
) -> None:
    """The change is a generation with an alert of its own; the following state stays."""
    if opened:
        await fail(store, 0)
    first = (await isolate(store, 60)).circuit
    clock.advance(50)
    change = await store.isolate(RULES, "bob", "longer", 100)
    circuit = change.circuit
    generation = first.generation + 1
    assert (change.outcome, circuit.generation, circuit.resume_at) == ("done", generation, 1150.0)
    assert (circuit.by, circuit.reason, circuit.ends_as) == ("bob", "longer", first.ends_as)
    assert (await history(store))[0] == ("isolated", generation, "bob")
    alerts: AlertBatch = await store.claim_alerts(RULES, "t", 30, 10)
    assert alerts.alerts[-1].id == f"{store.name}:{generation}:isolated"
    clock.advance(10)
    assert (await state(store))[0] == "isolated"
    clock.advance(90)
    assert await state(store) == (("open", 4) if opened else ("closed", 2))


@pytest.mark.parametrize("opened", [False, True])
async def test_end_that_was_replaced_is_not_restored(
    store: CircuitStore, clock: ManualClock, opened: bool
) -> None:
    """An instance without Redis ended the first isolation; the second operator's word stands."""
    if opened:
        await fail(store, 0)
    first = (await isolate(store, 60)).circuit
    changed = (await isolate(store)).circuit
    ended = (
        replace(first, state=CircuitState.OPEN, generation=first.generation + 1)
        if opened
        else replace(first, state=CircuitState.CLOSED)
    )
    assert (await store.restore(RULES, ended)).outcome == "ignored"
    assert await state(store) == ("isolated", changed.generation)


async def test_isolating_again_without_an_end_removes_the_end(
    store: CircuitStore, clock: ManualClock
) -> None:
    """The second operator wants the circuit to stay isolated."""
    await isolate(store, 60)
    assert (await isolate(store)).circuit.resume_at is None
    clock.advance(60)
    assert await state(store) == ("isolated", 2)
    await isolate(store, 10)
    clock.advance(10)
    assert await state(store) == ("closed", 3)


@pytest.mark.parametrize("opened", [False, True])
async def test_restored_isolation_ends_as_the_lost_one(
    store: CircuitStore, clock: ManualClock, opened: bool
) -> None:
    """An instance restores the end and the following state after Redis has lost its data."""
    ends_as = CircuitState.OPEN if opened else CircuitState.CLOSED
    known = Circuit(
        "c", CircuitState.ISOLATED, 4, changed_at=900.0, resume_at=1060.0, by="ann", ends_as=ends_as
    )
    circuit = (await store.restore(RULES, known)).circuit
    assert (circuit.resume_at, circuit.ends_as) == (1060.0, ends_as)
    clock.advance(60)
    assert await state(store) == (("open", 5) if opened else ("closed", 4))


async def test_isolation_of_an_earlier_version_gets_an_end(
    store: CircuitStore, clock: ManualClock
) -> None:
    """Its following state is not on record, so the end asks somebody."""
    await store.restore(RULES, Circuit("c", CircuitState.ISOLATED, 4, by="ann"))
    await isolate(store, 10)
    clock.advance(10)
    assert await state(store) == ("open", 6)


async def test_changed_end_is_pushed(store: CircuitStore) -> None:
    """Each instance learns a new end at once."""
    await isolate(store, 60)
    async with aclosing(store.changes(RULES)) as changes, asyncio.timeout(HANG_SECONDS):
        assert await anext(changes) is None
        await isolate(store, 100)
        pushed = await anext(changes)
    assert pushed is not None
    assert (pushed.resume_at, pushed.generation) == (1100.0, 2)
