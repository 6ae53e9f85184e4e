"""The standstill rule in one instance: notes, reports, and instances that decide alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from breaker import BreakerSettings, CircuitBreaker, CircuitState, Key, ManualClock
from breaker.keys import count_of
from breaker.notes import REPORTED_KEYS, Notes, Report
from breaker.state import Change, Rules
from tests.support.breaker.unreliable_store import UnreliableStore, settle

SETTINGS = BreakerSettings(name="c", poll_seconds=0.5, store_grace_seconds=30)
RULES = SETTINGS.rules("here:1")
A, B = Key("a"), Key("b")


class ReportsStore(UnreliableStore):
    """A store that keeps the reports, and counts the polls."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__("c", now_us=clock.now_us)
        self.reports: list[Report] = []
        self.polls = 0

    async def snapshot(self, rules: Rules) -> Change:
        self.polls += 1
        return await super().snapshot(rules)

    async def report(self, rules: Rules, report: Report) -> Change:
        self.polls += 1
        self.reports.append(report)
        return await super().report(rules, report)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> ReportsStore:
    return ReportsStore(clock)


@pytest.fixture
async def breaker(store: ReportsStore, clock: ManualClock) -> AsyncIterator[CircuitBreaker]:
    async with CircuitBreaker(store, SETTINGS, clock=clock) as made:
        await pass_time(clock, 1)
        yield made


async def pass_time(clock: ManualClock, seconds: float) -> None:
    """Advance the clock in steps of a quarter of a second."""
    for _ in range(round(seconds * 4)):
        await settle()
        clock.advance(0.25)
    await settle()


async def succeed_for(seconds: int, breaker: CircuitBreaker, clock: ManualClock) -> None:
    for _ in range(seconds):
        breaker.note_success(0.001)
        await pass_time(clock, 1)


async def fail_for(seconds: int, breaker: CircuitBreaker, clock: ManualClock, *keys: Key) -> None:
    """Report failed attempts of keys whose events run."""
    for key in keys:
        breaker.enter(key)
    for _ in range(seconds):
        for key in keys:
            breaker.note_failed_attempt(key, "down")
        await pass_time(clock, 1)
    for key in keys:
        breaker.leave(key)


def test_token_hides_the_name_and_marks_several_keys() -> None:
    """Redis and its backups hold no key of an event."""
    assert "alice" not in Key("alice").token
    assert Key("0").token != Key("0", several=True).token
    assert count_of((A.token, B.token)) == 2
    assert count_of((Key("0", several=True).token,)) == 2
    assert Key("\ud800").token


def test_a_success_forgets_the_attempts_before_it() -> None:
    """Only attempts since the last success show a standstill."""
    clock = ManualClock()
    notes = Notes(clock.monotonic)
    notes.failed_attempt(A, "down", 0)
    clock.advance(0.25)
    notes.success(0.5)
    clock.advance(0.25)
    notes.failed_attempt(B, "late", 0)
    notes.failed_attempt(B, "later", 0)
    clock.advance(0.25)
    report = notes.take()
    assert report is not None
    assert (report.succeeded, report.success_age, report.longest_seconds) == (True, 0.5, 0.5)
    assert (report.failed_attempts, report.attempts_age) == (2, 0.25)
    assert (report.keys, report.error) == ((B.token,), "later")


def test_attempts_of_an_older_generation_are_dropped() -> None:
    """They failed before the circuit was closed again."""
    notes = Notes(ManualClock().monotonic)
    notes.failed_attempt(A, "down", 0)
    notes.failed_attempt(B, "down", 1)
    report = notes.take()
    assert report is not None
    assert (report.failed_attempts, report.generation, report.keys) == (1, 1, (B.token,))


def test_report_is_bounded() -> None:
    """A report names few keys, however many fail or run."""
    notes = Notes(ManualClock().monotonic)
    for number in range(1_000):
        notes.enter(Key(f"{number}"))
        notes.failed_attempt(Key(f"{number}"), "x" * 10_000, 0)
    report = notes.take()
    assert report is not None
    assert report.failed_attempts == 1_000
    assert (len(report.keys), len(report.running), len(report.error)) == (REPORTED_KEYS, 2, 200)


async def test_poll_is_one_command_and_reports_outcomes_once_a_second(
    breaker: CircuitBreaker, clock: ManualClock, store: ReportsStore
) -> None:
    """Two polls a second report at most once what has succeeded and failed."""
    polls = store.polls
    for _ in range(20):
        breaker.note_success(0.001)
        breaker.note_failed_attempt(A, "down")
        await pass_time(clock, 0.5)
    assert store.polls - polls == 20
    assert len(store.reports) == 10


async def test_running_key_is_reported_at_each_poll(
    breaker: CircuitBreaker, clock: ManualClock, store: ReportsStore
) -> None:
    """A key runs until each of its lanes has ended."""
    breaker.enter(A)
    breaker.enter(A)
    breaker.leave(A)
    await pass_time(clock, 1)
    assert [report.running for report in store.reports] == [(A.token,)] * 2
    breaker.leave(A)
    await pass_time(clock, 1)
    assert len(store.reports) == 2


async def test_two_failing_keys_open_within_window_and_five_seconds(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """P13: from the first failure of the outage."""
    await succeed_for(20, breaker, clock)
    began = clock.monotonic()
    await fail_for(40, breaker, clock, A, B)
    circuit = breaker.circuit
    assert circuit.state is CircuitState.OPEN
    assert circuit.opened_at is not None
    assert circuit.opened_at - began <= 35
    assert circuit.reason.startswith("no event has succeeded for 3")


async def test_attempts_count_only_while_the_circuit_is_known_as_closed(
    breaker: CircuitBreaker, clock: ManualClock, store: ReportsStore
) -> None:
    """In HALF_OPEN an attempt is part of a probe, whose outcome counts by itself."""
    await breaker.isolate("ann", "test")
    await fail_for(3, breaker, clock, A, B)
    assert not any(report.failed_attempts for report in store.reports)


async def test_instance_that_decides_alone_judges_no_standstill(
    breaker: CircuitBreaker, clock: ManualClock, store: ReportsStore
) -> None:
    """Without the store an instance does not know whether others succeed."""
    await succeed_for(20, breaker, clock)
    store.away = True
    await pass_time(clock, 32)
    assert (breaker.circuit.admits, breaker.circuit.degraded) == (True, True)
    await fail_for(400, breaker, clock, A, B)
    assert breaker.circuit.admits
    store.away = False
    await pass_time(clock, 1)
    await fail_for(2, breaker, clock, A, B)
    assert (breaker.circuit.admits, breaker.circuit.degraded) == (True, False)
    await fail_for(32, breaker, clock, A, B)
    assert breaker.circuit.state is CircuitState.OPEN


async def test_success_during_a_store_outage_is_reported_after_it(
    breaker: CircuitBreaker, clock: ManualClock, store: ReportsStore
) -> None:
    """The time of the outage does not look like a standstill."""
    breaker.enter(A)
    await succeed_for(20, breaker, clock)
    await fail_for(5, breaker, clock, A, B)
    assert (await store.snapshot(RULES)).circuit.failed_attempts == 10
    store.away = True
    await pass_time(clock, 20)
    breaker.note_success(3.5)
    await pass_time(clock, 20)
    breaker.note_success(0.5)
    breaker.note_failed_attempt(B, "down")
    await pass_time(clock, 5.25)
    store.reports.clear()
    store.away = False
    await pass_time(clock, 0.5)
    first = store.reports[0]
    assert (first.succeeded, first.success_age, first.longest_seconds) == (True, 5.5, 3.5)
    assert first.failed_attempts == 0, "attempts of the outage are not reported"
    circuit = breaker.circuit
    assert (circuit.state, circuit.degraded) == (CircuitState.CLOSED, False)
    await pass_time(clock, 5)
    assert not any(report.succeeded for report in store.reports[2:]), "reported once"
