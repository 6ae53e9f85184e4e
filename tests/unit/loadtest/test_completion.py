"""The completion of a run, and the stages that the display shows."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

from rich.console import Console

from loadtest.observe.display import Display, Stage, stage_of
from loadtest.observe.observer import Sample
from loadtest.verify.completion import IDLE_SECONDS, Completion
from loadtest.verify.verdict import Verdict
from tests.support.loadtest.finished_run import judge


def verdict(**figures: Any) -> Verdict:
    return replace(judge(), **figures)


def completion() -> Completion:
    return Completion(needed=100, timeout_seconds=600, stall_seconds=60, began=0.0)


def test_run_is_complete_when_sent_accounted_for_and_closed() -> None:
    done = Sample(handled=98, poisoned=2)
    assert completion().complete(done, 0.0, over=True)
    assert not completion().complete(done, 0.0, over=False)
    assert not completion().complete(Sample(handled=98, poisoned=1), 0.0, over=True)
    for state in ("open", "half_open"):
        assert not completion().complete(
            Sample(handled=98, poisoned=2, state=state), 0.0, over=True
        )


def test_half_open_circuit_without_events_is_complete_after_the_idle_time() -> None:
    it = completion()
    idle = Sample(handled=98, poisoned=2, state="half_open")
    assert not it.complete(idle, 0.0, over=True)
    assert not it.complete(idle, IDLE_SECONDS - 0.1, over=True)
    assert not it.complete(replace(idle, handled=97), IDLE_SECONDS, over=True)
    assert not it.complete(idle, IDLE_SECONDS + 1, over=True), "the idle time restarts"
    assert it.complete(idle, 2 * IDLE_SECONDS + 1, over=True)


def test_run_waits_for_the_circuits_of_dependencies() -> None:
    it = completion()
    done = Sample(handled=99, poisoned=1)
    for state, now, complete in (
        ("open", 1.0, False),
        ("half_open", 2.0, False),
        ("half_open", 2.0 + IDLE_SECONDS, True),
        ("closed", 9.0, True),
    ):
        sample = replace(done, dependencies={"bank": state, "mail": "closed"})
        assert it.complete(sample, now, over=True) is complete
    assert "circuit of bank open" in str(
        it.reason_to_give_up(replace(done, dependencies={"bank": "open"}), 100, 900.0)
    )


def test_run_waits_for_deferred_keys_until_it_stalls() -> None:
    """A killed replay leaves a key deferred although all its events are in the ledger."""
    it = completion()
    still, free = verdict(deferred=3, came_back=2), verdict(deferred=3, came_back=3)
    assert [it.goes_on(still, 100, now) for now in (10.0, 69.0, 70.0)] == [True, True, False]
    assert not completion().goes_on(free, 100, 10.0)


def test_run_goes_on_when_duplicates_were_counted_instead_of_lost_events() -> None:
    it = completion()
    assert it.goes_on(verdict(lost=1, duplicates=1), 101, 10.0)
    assert it.needed == 101
    assert not it.goes_on(verdict(lost=1, duplicates=1), 101, 20.0)
    assert not completion().goes_on(verdict(lost=1), 100, 10.0)


def test_time_of_a_person_does_not_count() -> None:
    it = completion()
    sample = Sample(handled=40, state="open")
    assert it.reason_to_give_up(sample, 50, 10.0) is None
    for now in (11.0, 5_000.0):
        it.pause(now)
    assert it.reason_to_give_up(sample, 50, 5_059.0) is None, (
        "neither for the stall nor for the timeout"
    )
    reason = it.reason_to_give_up(sample, 50, 5_061.0)
    assert reason is not None
    assert reason.startswith("no progress for 60 s")


def test_run_gives_up_without_progress() -> None:
    it = completion()
    sample = Sample(handled=40, poisoned=1, state="half_open", app_state="Running")
    assert it.reason_to_give_up(sample, 100, 10.0) is None
    assert it.reason_to_give_up(sample, 100, 69.0) is None
    reason = it.reason_to_give_up(sample, 100, 70.0)
    assert reason == (
        "no progress for 60 s: 40 handled, 1 poisoned, 59 missing, circuit half_open, "
        "function app Running"
    )


def test_any_progress_restarts_the_stall_time() -> None:
    it = completion()
    for now, handled in ((0.0, 1), (50.0, 2), (100.0, 3)):
        assert it.reason_to_give_up(Sample(handled=handled), 100, now) is None
    assert it.reason_to_give_up(Sample(handled=3), 101, 150.0) is None
    assert it.reason_to_give_up(Sample(handled=3, state="open"), 101, 200.0) is None
    assert it.reason_to_give_up(Sample(handled=3, state="open"), 101, 260.0) is not None


def test_refused_calls_are_no_progress() -> None:
    it = completion()
    it.reason_to_give_up(Sample(refused=1), 100, 0.0)
    assert it.reason_to_give_up(Sample(refused=900), 100, 60.0) is not None


def test_run_gives_up_after_the_timeout() -> None:
    reason = completion().reason_to_give_up(Sample(handled=99), 100, 600.0)
    assert reason is not None
    assert reason.startswith("not finished after 600 s: 99 handled")


def test_stages_follow_the_circuit() -> None:
    def stage(
        state: str, *, sent: bool = False, waiting: bool = False, opened: bool = False
    ) -> Stage:
        return stage_of(Sample(state=state), sent=sent, waiting=waiting, opened=opened)

    assert stage("closed") is Stage.SENDING
    assert stage("closed", sent=True) is Stage.HANDLING
    assert stage("open") is Stage.OPEN
    assert stage("open", waiting=True) is Stage.WAITING
    assert stage("half_open", opened=True) is Stage.RESUMING
    assert stage("closed", opened=True) is Stage.RESUMED


def test_each_stage_is_one_line_without_a_terminal() -> None:
    text = StringIO()
    with Display(Console(file=text, width=100), events=10, failure_threshold=5) as display:
        for _ in range(3):
            display.update(Sample(handled=1), 10, Stage.HANDLING)
        display.update(Sample(handled=7), 10, Stage.OPEN)
    lines = text.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("handling  (1 handled)")
    assert lines[1].endswith("circuit open, processing is held  (7 handled)")


def test_change_of_a_dependencys_circuit_is_one_line() -> None:
    text = StringIO()
    with Display(Console(file=text, width=100), events=10) as display:
        for state in ("closed", "open", "open", "half_open", "closed"):
            display.update(Sample(handled=7, dependencies={"bank": state}), 10, Stage.HANDLING)
    lines = [line.partition("s  ")[2] for line in text.getvalue().splitlines()]
    assert lines == [
        "handling  (7 handled)",
        "circuit of bank open  (7 handled)",
        "circuit of bank half-open  (7 handled)",
        "circuit of bank closed  (7 handled)",
    ]


def test_terminal_shows_bars() -> None:
    text = StringIO()
    console = Console(file=text, width=120, force_terminal=True, force_interactive=True)
    with Display(console, events=10, failure_threshold=5) as display:
        display.update(Sample(handled=7, failures=3, poisoned=1), 10, Stage.HANDLING)
    for part in ("sent", "10/10", "7/10", "1 poisoned", "3/5", "circuit closed"):
        assert part in text.getvalue()
