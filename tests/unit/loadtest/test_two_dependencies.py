"""The plans, events and verdicts of `two-dependencies`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arguments import parse
from loadtest.errors import UsageError
from loadtest.plan.chaos import KILLS
from loadtest.plan.chaos_settings import chaos_settings
from loadtest.plan.settings import AppLimits, Scenario, Settings
from loadtest.plan.two_dependencies import (
    BREAK_SECONDS,
    SHORT_BREAK_SECONDS,
    draw_two_dependencies,
)
from loadtest.plan.workload import Workload
from loadtest.send.producer import Order, event
from loadtest.verify.circuit_check import OPENED_ALERT
from loadtest.verify.evidence import (
    Alert,
    CircuitEvidence,
    Evidence,
    LedgerEntry,
    RefusedCall,
    Transition,
)
from loadtest.verify.expectation import Expectation
from loadtest.verify.expectation import expected as expected_of
from loadtest.verify.verdict import Verdict
from loadtest.verify.verifier import verify

seeds = st.integers(0, 10_000)
START_US = 1_800_000_000_000_000
OPENED_US = START_US + 1_000_000
HALF_OPEN_US = START_US + 26_000_000
CLOSED_US = START_US + 26_500_000
EACH, KEYS = 80, 4
HISTORY = (
    Transition("opened", 1, OPENED_US),
    Transition("half_opened", 1, HALF_OPEN_US, "timer"),
    Transition("closed", 1, CLOSED_US),
)
ALERTS = (Alert("breakwater/bank:1:opened", OPENED_ALERT, 1, "bank"),)
MOST_LATE_SECONDS = 5.0


def settings_of(seed: int, **chosen: object) -> Settings:
    return chaos_settings({"seed": seed, "scenario": Scenario.TWO_DEPENDENCIES, **chosen})


@given(seed=seeds)
def test_bank_is_away_while_two_hosts_die(seed: int) -> None:
    """The break is longer than the outage, or ends at least three seconds before the outage."""
    plan = draw_two_dependencies(seed, 3_000)
    assert plan == draw_two_dependencies(seed, 4_000)
    if plan.probes_fail:
        assert SHORT_BREAK_SECONDS + 3 <= plan.down_seconds < 2 * SHORT_BREAK_SECONDS
    else:
        assert 8 <= plan.down_seconds < BREAK_SECONDS
    assert [fault.kind in KILLS for fault in plan.faults] == [True, True]
    early, late = (fault.delay_seconds for fault in plan.faults)
    assert late - early >= 20
    assert plan.instances >= 2, "one host is left"


def test_twenty_five_seeds_bring_every_variant() -> None:
    plans = [draw_two_dependencies(seed, 3_000) for seed in range(1, 26)]
    assert {plan.probes_fail for plan in plans} == {True, False}
    assert {plan.instances for plan in plans} == {2, 3}


@pytest.mark.parametrize("events", [3_000, 3_600])
@given(seed=seeds)
def test_circuit_closes_while_events_arrive(events: int, seed: int) -> None:
    settings = settings_of(seed, events=events)
    assert settings.chaos is not None
    begins = settings.outage_after / settings.rate_per_second
    sent = settings.events / settings.rate_per_second
    breaks = float(settings.app_settings["BREAKER_BREAK_SECONDS"])
    breaks *= 1 + settings.chaos.probes_fail
    assert begins + breaks + 5 <= sent


def test_half_of_the_keys_need_each_dependency() -> None:
    settings = settings_of(3)
    workload = Workload.from_settings(settings)
    counts = Counter(workload.needs(index, 1) for index in range(workload.keys))
    assert set(counts) == {"bank", "mail"}
    assert abs(counts["bank"] - counts["mail"]) <= 1
    assert Workload.from_settings(settings_of(3)) == workload
    assert workload.faults == {}


def test_event_names_what_it_needs_on_both_sides_of_the_pipe() -> None:
    order = Order.from_json(
        Order(
            connection="",
            event_hub="events",
            run="r",
            events_per_batch=1,
            rate_per_second=0,
            workload=Workload.from_settings(settings_of(1)),
        ).to_json()
    )
    assert order.workload == Workload.from_settings(settings_of(1))
    found = [event(order, index, 1).properties["needs"] for index in range(3)]
    assert found == ["bank", "mail", "bank"]


def test_events_of_other_scenarios_need_nothing() -> None:
    assert Workload(Scenario.STEADY, 10, 2, 0, 0).needs(1, 1) == ""


def test_scenario_needs_no_option_for_its_faults() -> None:
    settings = parse(["run", "--scenario", "two-dependencies", "--seed", "3"])
    assert isinstance(settings, Settings)
    assert settings.chaos == draw_two_dependencies(3, settings.events)
    assert settings.chaos.probes_fail == (settings.app_settings["BREAKER_BREAK_SECONDS"] == "12")


def test_outage_may_be_longer() -> None:
    line = "run --scenario two-dependencies --down 60"
    settings = parse(line.split())
    assert isinstance(settings, Settings)
    assert settings.chaos == replace(draw_two_dependencies(0, 1), down_seconds=60)
    for wrong in ("dead-key --down 60", "two-dependencies --down 0", "steady --down 9"):
        with pytest.raises(UsageError, match="--down"):
            parse(["run", "--scenario", *wrong.split()])


def test_only_the_circuit_of_the_bank_opens() -> None:
    expected = Expectation.of(Workload.from_settings(settings_of(1)), 100)
    assert (expected.least_openings, expected.most_openings) == (0, 0)
    assert expected.dependency_openings == {"bank": (1, 1), "mail": (0, 0)}
    assert expected.least_deferred == 1


def test_failed_probes_may_open_the_circuit_of_the_bank_again() -> None:
    limits = AppLimits("breakwater", 10, 10.0, 4, 128, defer_after_seconds=2)
    for seed in range(20):
        settings = settings_of(seed)
        assert settings.chaos is not None
        found = expected_of(settings, Workload.from_settings(settings), limits)
        most = 1 + settings.chaos.probes_fail
        assert found.dependency_openings == {"bank": (1, most), "mail": (0, 0)}
        assert (found.most_openings, found.least_deferred) == (0, 1)
        assert found.most_late_seconds == 8


def test_good_run_passes() -> None:
    verdict = judged()
    assert verdict.broken == ()
    assert verdict.dependencies["bank"].opened == 1
    assert verdict.dependencies["bank"].resumed is True
    assert verdict.dependencies["mail"].opened == 0
    assert verdict.others is not None
    assert verdict.others.judged == 2 * 75
    assert (verdict.others.late, verdict.others.longest_ms) == (0, 10)


def test_late_event_of_the_other_dependency_is_found() -> None:
    verdict = judged(took_ms={("key-1", 20): 6_000})
    assert verdict.broken == ("1 events that do not need the dependency took more than 5 s",)
    assert verdict.diff == ("late: key-1 #20 after 6.0 s",)


def test_late_event_of_the_bank_is_none() -> None:
    assert judged(took_ms={("key-0", 20): 6_000}).broken == ()


def test_event_that_waits_for_a_killed_host_is_left_out() -> None:
    """An event that waited while the host died, or that came within its takeover."""
    kill_us = START_US + 9_000_000
    verdict = judged(took_ms={("key-1", 20): 6_000, ("key-1", 45): 6_000}, killed_us=[kill_us])
    assert verdict.broken == ()
    verdict = judged(took_ms={("key-1", 60): 6_000}, killed_us=[kill_us])
    assert verdict.others is not None
    assert verdict.others.late == 1, "after the takeover"


def waiting(kill_s: int, until_s: int) -> dict[tuple[str, int], int]:
    """Return how long the mail's events take that wait from a kill until a time, in ms."""
    return {
        (f"key-{key}", counter): 1000 * until_s + 2_000 - 500 * counter
        for key in (1, 3)
        for counter in range(1, EACH + 1)
        if kill_s < counter / 2 - 2 < until_s
    }


def test_new_owner_that_starts_slowly_is_no_delay_by_the_dependency() -> None:
    """On a busy machine a takeover takes longer, here 20 s; the wait until then is left out."""
    waits = waiting(4, 24)
    verdict = judged(took_ms=waits, killed_us=[START_US + 4_000_000])
    assert verdict.others is not None
    assert verdict.others.late == 0
    verdict = judged(took_ms=waits)
    assert verdict.others is not None
    assert verdict.others.late == 2 * 29, "without a kill"


def test_partition_that_stays_behind_after_a_takeover_is_late() -> None:
    """From the first event in time on, each late event counts."""
    waits = waiting(4, 15) | waiting(25, 36)
    verdict = judged(took_ms=waits, killed_us=[START_US + 4_000_000])
    assert verdict.others is not None
    assert verdict.others.late == 2 * 11


def test_partition_that_never_catches_up_is_late() -> None:
    waits = waiting(-2, 120)
    verdict = judged(took_ms=waits, killed_us=[START_US - 10_000_000])
    assert verdict.others is not None
    assert verdict.others.late == 2 * 17, "from 40 s after the kill on"


def test_opening_without_other_events_has_tested_nothing() -> None:
    [line] = judged(killed_us=[START_US + at * 1_000_000 for at in (1, 8, 16, 24, 32)]).broken
    assert line.startswith("0 events without need of the dependency were handled while")


def test_circuit_of_the_bank_opens_once_and_closes_by_itself() -> None:
    twice = (*HISTORY, *(each._replace(generation=2) for each in HISTORY))
    alerts = (*ALERTS, Alert("breakwater/bank:2:opened", OPENED_ALERT, 2, "bank"))
    assert (
        "bank: the circuit opened 2 times, expected 1" in judged(bank=twice, alerts=alerts).broken
    )
    by_hand = (HISTORY[0], Transition("approved", 1, HALF_OPEN_US, "ada"), *HISTORY[1:])
    assert judged(bank=by_hand).broken == (
        "bank: ada moved the circuit (approved), expected nobody",
    )


def test_circuit_that_stays_open_is_named() -> None:
    lines = judged(bank=HISTORY[:1], bank_state="open").broken
    assert "bank: the circuit is open at the end, expected closed" in lines


def test_opening_without_an_alert_is_found() -> None:
    assert "bank: alerts with distinct ids: 0, expected one for each of 1 openings" in (
        judged(alerts=()).broken
    )


def test_call_while_the_circuit_is_open_is_found() -> None:
    """The mail's keys may start while the bank's circuit is open, the bank's may not."""
    late = RefusedCall("key-0", 20, "0", 20 * KEYS, OPENED_US + 5_000_000)
    assert judged(refused=[late]).broken == (
        "bank: 1 events started while the circuit was open",
        "bank: 1 calls reached the downstream while the circuit was open",
    )


def test_opening_of_the_apps_circuit_is_found() -> None:
    lines = judged(history=HISTORY).broken
    assert "the circuit opened 1 times, expected 0" in lines


def workload() -> Workload:
    """Return a workload of four keys, of which two need the bank."""
    return Workload(
        Scenario.TWO_DEPENDENCIES,
        events=EACH * KEYS,
        keys=KEYS,
        poison_every=0,
        seed=1,
        dependencies=("bank", "mail"),
        away="bank",
    )


def judged(
    *,
    took_ms: dict[tuple[str, int], int] | None = None,
    bank: tuple[Transition, ...] = HISTORY,
    bank_state: str = "closed",
    alerts: tuple[Alert, ...] = ALERTS,
    refused: list[RefusedCall] | None = None,
    **changes: Any,
) -> Verdict:
    """Return the verdict on a faultless run with some evidence replaced.

    Each key has two events a second. The bank is away from the end of the first half second, and
    the bank's keys return when the circuit has closed.
    """
    planned = workload()
    ledgers = []
    for index, key in enumerate(planned.key_names):
        entries = []
        for counter in range(1, EACH + 1):
            enqueued_us = START_US - 2_000_000 + counter * 500_000
            took_us = 1000 * (took_ms or {}).get((key, counter), 10)
            at_us = enqueued_us + took_us
            if planned.needs(index, counter) == "bank" and OPENED_US - 400_000 < at_us < CLOSED_US:
                at_us = CLOSED_US + counter
            entries.append(
                LedgerEntry(counter, "0", counter * KEYS + index, enqueued_us // 1000, at_us)
            )
        ledgers.append((key, entries))
    expectation = replace(Expectation.of(planned, 100), most_late_seconds=MOST_LATE_SECONDS)
    values: dict[str, Any] = {
        "deferred": frozenset({"key-0", "key-2"}),
        "refused": [
            RefusedCall("key-0", 4, "0", 4 * KEYS, START_US + 600_000),
            *(refused or ()),
        ],
        **changes,
    }
    return verify(
        Evidence(
            workload=planned,
            sent=dict.fromkeys(planned.key_names, EACH),
            ledgers=ledgers,
            expectation=expectation,
            dependencies={
                "bank": CircuitEvidence(bank, alerts, bank_state),
                "mail": CircuitEvidence(),
            },
            **values,
        )
    )
