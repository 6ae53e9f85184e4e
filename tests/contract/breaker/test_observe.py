"""Mode observe in both stores: rules are judged, and nothing opens."""

from __future__ import annotations

from typing import Any

from breaker import BreakerSettings, Circuit, CircuitState, CircuitStore, ManualClock, Mode, Permit
from breaker.notes import Report
from breaker.state import Change

NAME = "c"


def rules_of(**settings: Any) -> Any:
    given = {"failure_threshold": 3, "half_open_permits": 2, "mode": Mode.OBSERVE, **settings}
    return BreakerSettings(name=NAME, **given).rules("here:1")


RULES = rules_of()


async def fail(store: CircuitStore, *names: str, probe: str | None = None) -> list[Change]:
    generation = (await store.snapshot(RULES)).circuit.generation
    permit = Permit(generation, probe)
    return [await store.record_failure(RULES, name, f"boom {name}", permit) for name in names]


async def test_met_rule_is_reported_and_opens_nothing(store: CircuitStore) -> None:
    """State and generation stay, no alert is added, and the history has the reason."""
    changes = await fail(store, "a", "b", "c")
    reason = "3 failures within 30 s (threshold 3); last error: boom c"
    assert [change.would_open for change in changes] == ["", "", reason]
    circuit = changes[-1].circuit
    assert (circuit.state, circuit.generation, circuit.failures) == ("closed", 0, 3)
    assert changes[-1].transitions == 0
    assert (await store.outbox(RULES)).pending == 0
    entries = [(e.event, e.generation, e.reason) for e in await store.history(10)]
    assert entries == [("would_open", 0, reason)]


async def test_reason_of_many_bytes_is_reported_whole(store: CircuitStore) -> None:
    """The reply gives the reason's length in bytes."""
    permit = Permit(0)
    change = await store.record_failure(rules_of(failure_threshold=1), "a", "Größe 1 é 2", permit)
    assert change.would_open.endswith("last error: Größe 1 é 2")


async def test_one_outage_is_reported_once(store: CircuitStore, clock: ManualClock) -> None:
    """While a rule is met again and again, the report is not repeated."""
    reports = []
    for number in range(100):
        reports += [change.would_open for change in await fail(store, f"f{number}")]
        clock.advance(1)
    assert sum(map(bool, reports)) == 1


async def test_next_outage_is_reported_again(store: CircuitStore, clock: ManualClock) -> None:
    """No rule was met for as long as the window, so the condition has ended."""
    await fail(store, "a", "b", "c")
    clock.advance(29.999999)
    assert [change.would_open for change in await fail(store, "d")] == [""]
    clock.advance(30)
    assert any(change.would_open for change in await fail(store, "e", "f", "g"))
    assert [entry.event for entry in await store.history(10)] == ["would_open"] * 2


async def test_window_is_bounded_by_the_threshold(store: CircuitStore) -> None:
    """The window keeps the newest failures; memory does not grow in a long outage."""
    changes = await fail(store, *(f"f{number}" for number in range(20)))
    assert [change.circuit.failures for change in changes[-3:]] == [3, 3, 3]


async def test_ratio_rule_is_reported(store: CircuitStore) -> None:
    """Observe concerns every rule."""
    rules = rules_of(failure_threshold=100, failure_ratio=0.5, minimum_throughput=4)
    await store.record_successes(rules, "r", 2, Permit(0))
    await store.record_failure(rules, "a", "boom", Permit(0))
    change = await store.record_failure(rules, "b", "boom", Permit(0))
    assert change.would_open.startswith("2 of 4 failed")
    assert change.circuit.state is CircuitState.CLOSED


async def test_isolation_by_hand_works(store: CircuitStore, clock: ManualClock) -> None:
    """Observe prevents rules, not operators."""
    assert (await store.isolate(RULES, "ann", "release", 60)).circuit.state is CircuitState.ISOLATED
    clock.advance(60)
    assert (await store.snapshot(RULES)).circuit.state is CircuitState.CLOSED


async def test_isolation_of_an_open_circuit_ends_as_an_opening(
    store: CircuitStore, clock: ManualClock
) -> None:
    """The opening is older than the mode, and no rule decides at the end of an isolation."""
    await store.restore(RULES, Circuit(NAME, CircuitState.OPEN, 1))
    await store.isolate(RULES, "ann", "release", 60)
    clock.advance(60)
    circuit = (await store.snapshot(RULES)).circuit
    assert (circuit.state, circuit.generation) == ("open", 3)


async def test_circuit_that_was_open_before_the_mode_recovers(store: CircuitStore) -> None:
    """A failed probe does not open the circuit again; successful probes close it."""
    await store.restore(RULES, Circuit(NAME, CircuitState.HALF_OPEN, 1))
    await store.acquire(RULES, "p")
    await fail(store, "a", "b", "c", probe="p")
    circuit = (await store.snapshot(RULES)).circuit
    assert (circuit.state, circuit.generation) == ("half_open", 1)
    for probe in ("q", "r"):
        assert (await store.acquire(RULES, probe)).granted
        change = await store.record_successes(RULES, f"report {probe}", 1, Permit(1, probe))
    assert change.circuit.state is CircuitState.CLOSED


async def test_memory_of_failed_probes_is_bounded(store: CircuitStore) -> None:
    """Nothing opens, so any number of keys may fail; the store remembers the first three."""
    await store.restore(RULES, Circuit(NAME, CircuitState.HALF_OPEN, 1))
    for number in range(20):
        permit = Permit(1, f"p{number}", f"k{number}")
        change = await store.record_failure(RULES, f"f{number}", "boom", permit)
    assert (change.circuit.state, change.circuit.probe_failures) == (CircuitState.HALF_OPEN, 3)
    assert (await store.acquire(RULES, "q", "k19")).granted, "the key is not remembered"
    assert not (await store.acquire(RULES, "r", "k2")).granted


async def test_standstill_is_reported_by_a_poll(store: CircuitStore, clock: ManualClock) -> None:
    """A fleet of few keys that stands still is reported once, however long the standstill lasts."""
    rules = rules_of(failure_threshold=100, standstill_failures=4)
    await store.report(rules, Report("r", succeeded=True))
    reports = []
    for number in range(400):
        clock.advance(1)
        attempts = Report(
            f"r{number}", failed_attempts=1, keys=("k", "l"), error="boom", running=("k",)
        )
        change = await store.report(rules, attempts)
        reports += [change.would_open]
        assert change.circuit.state is CircuitState.CLOSED
    assert [reason for reason in reports if reason] == [
        "no event has succeeded for 300 s; 300 attempts of 2 keys failed; last error: boom"
    ]
