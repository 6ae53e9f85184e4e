"""The plans of `recreated-hub`, `expired` and `clock-back`, and the check of the hub's ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from azure.eventhub import EventDataBatch
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arguments import parse
from loadtest.faults.hub_ends import ClockStep, Expiry, Recreation, exact_seconds
from loadtest.observe.health import Health, HealthWatch
from loadtest.plan.chaos import FaultKind
from loadtest.plan.chaos_settings import chaos_settings
from loadtest.plan.hub_ends import draw_clock_back, draw_expired, draw_recreated_hub
from loadtest.plan.settings import AppLimits, Scenario, Settings
from loadtest.plan.workload import Workload
from loadtest.send.producer import Order, event
from loadtest.verify.evidence import Evidence, HubEvidence, LedgerEntry
from loadtest.verify.expectation import Expectation, expected
from loadtest.verify.verdict import Verdict
from loadtest.verify.verifier import verify
from tests.support.loadtest.finished_run import BASE_US, entry

DRAWS = {
    Scenario.RECREATED_HUB: draw_recreated_hub,
    Scenario.EXPIRED: draw_expired,
    Scenario.CLOCK_BACK: draw_clock_back,
}
LIMITS = AppLimits("breakwater", 100, 30.0, 4, 128)
SEEDS = range(1, 26)
CREATED_US = BASE_US + 5_000_000


@given(seed=st.integers(0, 10_000), scenario=st.sampled_from(sorted(DRAWS)))
def test_same_seed_draws_the_same_plan(seed: int, scenario: Scenario) -> None:
    assert DRAWS[scenario](seed, 3_000) == DRAWS[scenario](seed, 3_000)


@pytest.mark.parametrize("scenario", sorted(DRAWS))
def test_scenario_needs_no_option_for_its_faults(scenario: Scenario) -> None:
    settings = parse(["run", "--scenario", scenario, "--seed", "3"])
    assert isinstance(settings, Settings)
    assert settings.chaos == DRAWS[scenario](3, settings.events)
    assert settings.stall_seconds > 60, "longer than the time in which health must name it"


@given(seed=st.integers(0, 10_000))
def test_recreated_hub_grows_past_the_checkpoints(seed: int) -> None:
    settings = chaos_settings({"seed": seed, "scenario": Scenario.RECREATED_HUB})
    [hold] = settings.holds
    assert hold * 2 < settings.events
    counts = Workload.from_settings(settings).sent_counts(settings.events_per_batch, hold)
    assert min(counts.values()) > 0, "each partition with events has a checkpoint"


def test_events_of_one_size_have_the_same_offsets_in_both_hubs() -> None:
    seed = next(seed for seed in SEEDS if draw_recreated_hub(seed, 3_000).same_size)
    workload = Workload.from_settings(
        chaos_settings({"seed": seed, "scenario": Scenario.RECREATED_HUB})
    )
    order = Order(
        connection="",
        event_hub="events",
        run="20261130T120000-abcdef",
        events_per_batch=10,
        rate_per_second=0,
        workload=workload,
    )
    same = Order.from_json(order.to_json())
    places = [(index, n) for index in (0, 20) for n in range(1, workload.count(index) + 1)]
    sizes = set()
    for place in places:
        batch = EventDataBatch(max_size_in_bytes=4096)
        batch.add(event(same, *place))
        sizes.add(batch.size_in_bytes)
    assert len(sizes) == 1


def test_twenty_five_seeds_bring_every_variant() -> None:
    recreated = [draw_recreated_hub(seed, 3_000) for seed in SEEDS]
    assert {plan.kills for plan in recreated} == {0, 1}
    assert {plan.faults[0].choice < 0.5 for plan in recreated} == {True, False}
    assert {plan.same_size for plan in recreated} == {True, False}
    expired_plans = [draw_expired(seed, 3_000) for seed in SEEDS]
    variants = {
        (plan.faults[0].kind, plan.faults[0].choice < 0.5, plan.kills) for plan in expired_plans
    }
    stopped, isolated = FaultKind.EXPIRED_WHILE_STOPPED, FaultKind.EXPIRED_WHILE_ISOLATED
    assert variants == {
        *((stopped, whole, 0) for whole in (True, False)),
        *((isolated, whole, kills) for whole in (True, False) for kills in (0, 1)),
    }
    clocks = [draw_clock_back(seed, 3_000) for seed in SEEDS]
    assert all(plan.faults[0].kind is FaultKind.CLOCK_SET_BACK for plan in clocks)
    assert all(plan.kills >= 1 for plan in clocks)
    for plan in clocks:
        soon = 5 * 300  # after that the watermark's time has passed that of the step
        [hold] = plan.holds
        assert all(0 < fault.after_handled - hold < soon for fault in plan.faults[1:])
        assert all(fault.after_handled < 2_800 for fault in plan.faults), "events are left"


def test_rewind_may_repeat_events_and_a_clock_may_not() -> None:
    for scenario in DRAWS:
        settings = chaos_settings({"seed": 1, "scenario": scenario})
        found = expected(settings, Workload.from_settings(settings), LIMITS)
        assert found.most_openings == 0
        assert (found.most_suppressed is None) == (scenario is Scenario.RECREATED_HUB)


def recreation(**changes: Any) -> HubEvidence:
    """Return the evidence of a hub that was recreated, and repaired as the runbook says."""
    values: dict[str, Any] = {
        "created_us": CREATED_US,
        "named_us": {"0": CREATED_US + 2_000_000, "1": CREATED_US + 59_000_000},
        "before": {"0": 19, "1": 19},
        "at_command": {"0": 19, "1": 19},
        "code": 0,
        "output": "Rewound 2 partitions",
    }
    return HubEvidence(recreation=Recreation(**{**values, **changes}))


def expiry(*, begins: int = 12, recorded: int = 8, **changes: Any) -> HubEvidence:
    """Return the evidence of events that expired in one partition."""
    values: dict[str, Any] = {
        "app_ran": True,
        "pending_seconds": 3.0,
        "exact_seconds": 4.0,
        "health_said": 8,
    }
    return HubEvidence(
        expiry=Expiry(begins={"0": begins}, **{**values, **changes}), recorded={"0": recorded}
    )


def judged(hub: HubEvidence, *, gone: range = range(0), also_gone: int = 0) -> Verdict:
    """Return the verdict on a run of two keys, whose counters `gone` are missing.

    The counter `also_gone` is missing of the first key only.
    """
    workload = Workload(Scenario.EXPIRED, events=40, keys=2, poison_every=0, seed=1)
    ledgers = [
        (
            key,
            [
                number_of(index, counter)
                for counter in range(1, 21)
                if counter not in gone and (index, counter) != (0, also_gone)
            ],
        )
        for index, key in enumerate(workload.key_names)
    ]
    return verify(
        Evidence(
            workload=workload,
            sent=dict.fromkeys(workload.key_names, 20),
            ledgers=ledgers,
            expectation=Expectation(0, 0),
            hub=hub,
        )
    )


def number_of(key_index: int, counter: int) -> LedgerEntry:
    """Return the entry of an event in the only partition, where the two keys take turns."""
    return entry(key_index, counter)._replace(sequence=(counter - 1) * 2 + key_index)


def test_repaired_recreation_passes() -> None:
    assert judged(recreation()).broken == ()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"named_us": {"0": CREATED_US + 1_000_000}},
            "health did not name the partitions 1 of the recreated hub within 60 s",
        ),
        (
            {"named_us": {"0": CREATED_US, "1": CREATED_US + 61_000_000}},
            "health did not name the partitions 1 of the recreated hub within 60 s",
        ),
        (
            {"at_command": {"0": 19, "1": 25}},
            "the checkpoints moved from 0: 19, 1: 19 to 0: 19, 1: 25 before the operator's command",
        ),
        ({"code": 1, "output": "no"}, "the operator's command ended with 1: no"),
    ],
)
def test_each_broken_promise_of_a_recreation_is_found(changes: dict[str, Any], line: str) -> None:
    assert judged(recreation(**changes)).broken == (line,)


def test_expired_events_are_not_lost_events() -> None:
    """Of each key the counters 3 to 6 are gone: eight numbers before 12."""
    verdict = judged(expiry(), gone=range(3, 7))
    assert verdict.broken == ()
    assert (verdict.expired, verdict.lost) == (8, 0)


def test_missing_event_that_the_hub_has_kept_is_lost() -> None:
    verdict = judged(expiry(), gone=range(3, 7), also_gone=15)
    assert verdict.lost == 5, "the key's missing events are not consecutive"
    assert "the hub has lost 8 events, but 4 are missing" in verdict.broken
    more = judged(expiry(begins=8, recorded=4), gone=range(3, 7))
    assert more.lost == 4, "the hub has lost four events, and eight are missing"


@pytest.mark.parametrize(
    ("hub", "line"),
    [
        (
            expiry(recorded=7),
            "the app has recorded the expired events 0: 7 by partition, but the hub has lost 0: 8",
        ),
        (
            expiry(exact_seconds=None, health_said=9),
            "health named 9 expired events 60 s after the app's return, expected 8",
        ),
        (
            expiry(pending_seconds=None),
            "health named no expired event within 60 s while the circuit was isolated",
        ),
        (
            expiry(exact_seconds=61.0),
            "health named the 8 expired events 61 s after the app's return, later than 60 s",
        ),
        (
            expiry(pending_seconds=61.0),
            "health named no expired event within 60 s while the circuit was isolated",
        ),
    ],
)
def test_each_wrong_report_of_expired_events_is_found(hub: HubEvidence, line: str) -> None:
    assert judged(hub, gone=range(3, 7)).broken == (line,)


def test_clock_that_is_taken_for_a_recreated_hub_is_found() -> None:
    assert judged(HubEvidence(clock=ClockStep(3.0, frozenset()))).broken == ()
    [line] = judged(HubEvidence(clock=ClockStep(3.0, frozenset({"1"})))).broken
    assert line.startswith("health named partition 1 as that of a recreated hub")
    for seconds in (None, 61.0):
        assert judged(HubEvidence(clock=ClockStep(seconds, frozenset()))).broken == (
            "health did not say within 60 s that the broker's clock was set back",
        )


async def test_time_of_the_exact_number_is_that_of_the_first_report(tmp_path: Path) -> None:
    """The number is known only later, when the app has handled the events behind the loss."""
    watch, start_us = HealthWatch(tmp_path), time.time_ns() // 1000 - 100_000_000
    assert await exact_seconds(watch, 8, returned_us=start_us) is None
    for second, expired in ((30, 5), (70, 8), (90, 8)):
        watch.note(Health(at_us=start_us + second * 1_000_000, expired={"0": expired}))
    assert await exact_seconds(watch, 8, returned_us=start_us) == 70
    assert await exact_seconds(watch, 8, returned_us=start_us + 80_000_000) == 0
    assert await exact_seconds(watch, 5, returned_us=start_us) is None, "health says 8 by now"


def test_run_without_expired_events_has_tested_nothing() -> None:
    verdict = judged(expiry(begins=12, recorded=0))
    assert verdict.broken == ("no event expired unhandled, so the run has tested nothing",)


def test_health_report_names_recreated_partitions_and_expired_events() -> None:
    report = {
        "status": "stalled",
        "partitions": [
            {"partition": "0", "recreated": True},
            {"partition": "1"},
            {"partition": "2"},
        ],
        "states": [{"partition": "2", "why": "recreated"}, {"partition": "1", "why": None}],
        "problems": [
            "partition 1 of events: 5 events expired unhandled (3 to 7), and",
            "partition 3 of events: 1 event expired unhandled, and cannot be brought back",
            "Redis is away",
        ],
        "warnings": ["the clock of events stepped back by 5.0 s in partition 1 (latest: …)"],
    }
    health = Health.parse(report, 7)
    assert health.recreated == {"0", "2"}
    assert health.expired == {"1": 5, "3": 1}
    assert (health.status, health.at_us, health.steps_back) == ("stalled", 7, True)
    assert not Health.parse({**report, "warnings": ["Redis is old"]}, 7).steps_back
