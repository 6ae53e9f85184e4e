"""Isolation with an end, and mode observe, through the breaker of one instance."""

from __future__ import annotations

import logging

import pytest

from breaker import BreakerSettings, CircuitBreaker, CircuitState, ManualClock, Mode, Permit
from breaker.cli.lines import change_line, history_line, table
from breaker.state import Circuit, HistoryEntry
from tests.support.breaker.unreliable_store import UnreliableStore, settle


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> UnreliableStore:
    return UnreliableStore("c", now_us=clock.now_us)


def open_breaker(store: UnreliableStore, clock: ManualClock, **settings: object) -> CircuitBreaker:
    given = {"name": "c", "failure_threshold": 2, **settings}
    return CircuitBreaker(store, BreakerSettings(**given), clock=clock)  # type: ignore[arg-type]


async def test_poll_ends_a_timed_isolation(store: UnreliableStore, clock: ManualClock) -> None:
    """No event and no operator is needed at the end; the reason has the length."""
    async with open_breaker(store, clock, poll_seconds=1) as breaker:
        circuit = await breaker.isolate("ann", "release 12", 5_400)
        assert (circuit.reason, circuit.retry_after) == ("release 12 (for 1h30m)", 5_400)
        for seconds in (5_399, 1, 1):
            await settle()
            clock.advance(seconds)
        await settle()
        assert breaker.circuit.admits
        assert breaker.circuit.by == "timer"


@pytest.mark.parametrize("seconds", [0, 0.5, -1, 30 * 86_400 + 1])
async def test_length_out_of_bounds_is_refused(
    store: UnreliableStore, clock: ManualClock, seconds: float
) -> None:
    """An isolation that ends at once would look like one that was never made."""
    breaker = open_breaker(store, clock)
    with pytest.raises(ValueError, match="it takes 1 to 2592000 seconds"):
        await breaker.isolate("ann", "x", seconds)
    assert breaker.circuit.generation == 0


async def test_long_reason_keeps_the_length(store: UnreliableStore, clock: ManualClock) -> None:
    """The reason is clipped, not the length behind it."""
    reason = (await open_breaker(store, clock).isolate("ann", "x" * 300, 60)).reason
    assert (len(reason), reason.endswith("… (for 1m)")) == (200, True)


@pytest.mark.parametrize("opened", [False, True])
async def test_isolation_ends_during_an_outage_of_the_store(
    store: UnreliableStore, clock: ManualClock, opened: bool
) -> None:
    """An instance that decides alone ends the isolation too, as the shared store would."""
    breaker = open_breaker(store, clock, store_grace_seconds=10)
    if opened:
        await store.restore(breaker._rules, Circuit("c", CircuitState.OPEN, 1))
    await breaker.isolate("ann", "release", 60)
    store.away = True
    await breaker.refresh()
    clock.advance(59)
    circuit = await breaker.refresh()
    assert (circuit.state, circuit.degraded) == (CircuitState.ISOLATED, True)
    clock.advance(1)
    circuit = await breaker.refresh()
    expected = (CircuitState.OPEN, 3) if opened else (CircuitState.CLOSED, 1)
    assert (circuit.state, circuit.generation, circuit.degraded) == (*expected, True)
    store.away = False
    circuit = await breaker.refresh()
    assert (circuit.state, circuit.generation, circuit.degraded) == (*expected, False)
    await breaker.aclose()


@pytest.mark.parametrize("opened", [False, True])
async def test_isolation_survives_the_loss_of_the_store(
    store: UnreliableStore, clock: ManualClock, opened: bool
) -> None:
    """An instance restores state, end and following state in an emptied store."""
    breaker = open_breaker(store, clock)
    if opened:
        await store.restore(breaker._rules, Circuit("c", CircuitState.OPEN, 1))
    before = await breaker.isolate("ann", "release", 60)
    store.lose_everything()
    after = await breaker.refresh()
    assert (after.state, after.resume_at, after.ends_as) == (
        CircuitState.ISOLATED,
        before.resume_at,
        before.ends_as,
    )
    clock.advance(60)
    expected = (CircuitState.OPEN, 3) if opened else (CircuitState.CLOSED, 1)
    circuit = await breaker.refresh()
    assert (circuit.state, circuit.generation) == expected
    await breaker.aclose()


async def test_observe_logs_once_what_would_have_happened(
    store: UnreliableStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The line has the reason; nothing is refused."""
    breaker = open_breaker(store, clock, mode=Mode.OBSERVE)
    with caplog.at_level(logging.WARNING, "breaker.circuit"):
        for number in range(5):
            await breaker.record_failure(f"f{number}", "boom", Permit(0))
    assert [record.getMessage() for record in caplog.records] == [
        "circuit c would have opened, but stays closed in mode observe: "
        "2 failures within 30 s (threshold 2); last error: boom"
    ]
    assert (await breaker.try_acquire()).generation == 0
    await breaker.aclose()


async def test_observe_reports_what_an_outage_of_the_store_hid(
    store: UnreliableStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The failures that were counted alone are added to the shared window."""
    breaker = open_breaker(store, clock, mode=Mode.OBSERVE, store_grace_seconds=0)
    await breaker.refresh()
    await breaker.record_failure("a", "boom", Permit(0))
    store.away = True
    await breaker.record_failure("b", "boom", Permit(0))
    store.away = False
    with caplog.at_level(logging.WARNING, "breaker.circuit"):
        circuit = await breaker.refresh()
    assert (circuit.state, circuit.failures) == (CircuitState.CLOSED, 2)
    assert "would have opened" in caplog.text
    await breaker.aclose()


async def test_observe_reports_the_failure_that_ends_an_outage(
    store: UnreliableStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The operation runs twice then, and only its first run has the reason."""
    breaker = open_breaker(store, clock, mode=Mode.OBSERVE, failure_threshold=1)
    store.away = True
    await breaker.refresh()
    store.away = False
    with caplog.at_level(logging.WARNING, "breaker.circuit"):
        await breaker.record_failure("a", "boom", Permit(0))
    assert caplog.text.count("would have opened") == 1
    await breaker.aclose()


FORGED = "x [vm:1]\n2026-12-01 04:00:00.000Z     5  closed by boss\x1b[2J"


async def test_line_breaks_of_a_person_forge_no_line(
    store: UnreliableStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The history and the log have one line for each change, and the store has no line breaks."""
    caplog.set_level(logging.INFO)
    breaker = open_breaker(store, clock)
    circuit = await breaker.isolate(FORGED, FORGED)
    assert "\n" not in circuit.by + circuit.reason
    await breaker.close_circuit(circuit.generation, FORGED, FORGED)
    lines = [history_line(each) for each in await breaker.history()]
    lines += [table(breaker), change_line(breaker.circuit), *caplog.messages]
    assert all(r"x [vm:1]\n2026" in each for each in lines)
    assert not any(FORGED in each or "\x1b" in each for each in lines)


def test_stored_line_breaks_of_earlier_versions_are_escaped() -> None:
    entry = HistoryEntry("closed", 5, FORGED, 1.0, FORGED, "vm:1")
    assert history_line(entry).count(r"\n2026") == 2
    assert "\n" not in history_line(entry)


async def test_status_counts_failed_attempts_of_a_closed_circuit_only(
    store: UnreliableStore, clock: ManualClock
) -> None:
    """The count ends with the opening; 0 would look as if nothing had failed."""
    breaker = open_breaker(store, clock)
    assert "failed since the last success" in table(breaker)
    await breaker.isolate("x", "y")
    assert "failed since the last success" not in table(breaker)
