"""The plans, settings and verdicts of `lists`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.plan.chaos import KILLS, FaultKind
from loadtest.plan.chaos_settings import chaos_settings
from loadtest.plan.lists import HANDLER, LIST_EVENTS, draw_lists
from loadtest.plan.settings import AppLimits, Scenario, Settings
from loadtest.plan.workload import Workload
from loadtest.verify.evidence import ListEvidence
from loadtest.verify.expectation import Expectation, expected
from loadtest.verify.verdict import Verdict
from processing.handlers.loading import load_handler
from tests.support.loadtest.finished_run import judge

seeds = st.integers(0, 10_000)


def settings(seed: int, **chosen: object) -> Settings:
    return chaos_settings({"seed": seed, "scenario": Scenario.LISTS, **chosen})


def limits(found: Settings) -> AppLimits:
    return AppLimits.from_values(found.app_settings)


@given(seed=seeds)
def test_plan_kills_twice_restarts_redis_and_has_an_outage(seed: int) -> None:
    plan = draw_lists(seed, 6_000)
    assert plan == draw_lists(seed, 6_000)
    assert sum(fault.kind in KILLS for fault in plan.faults) == 2
    assert {FaultKind.REDIS_RESTARTED, FaultKind.OUTAGE} < plan.kinds
    assert all(600 <= fault.after_handled <= 5_100 for fault in plan.faults), "in the middle"


def test_twenty_five_seeds_bring_every_variant() -> None:
    plans = [draw_lists(seed, 6_000) for seed in range(1, 26)]
    assert {plan.list_events for plan in plans} == {*LIST_EVENTS}
    assert {plan.instances for plan in plans} == {1, 2, 3}
    assert {plan.parks for plan in plans} == {plan.hot_key for plan in plans} == {True, False}
    assert {bool(plan.hang_every) for plan in plans} == {True, False}


@given(seed=seeds)
def test_app_gets_the_handler_of_lists_and_poison_events(seed: int) -> None:
    found = settings(seed)
    assert found.chaos is not None
    assert found.app_settings["EVENT_HANDLER"] == HANDLER
    assert limits(found).list_events == found.chaos.list_events
    assert ("park" in found.app_settings.values()) == found.chaos.parks
    workload = Workload.from_settings(found)
    # Two of 4,000 seeds draw few poison events, and then none.
    assert workload.faults or found.chaos.poison_every == 1_000
    assert bool(workload.waiting) == found.chaos.parks


def test_handler_is_one_of_lists() -> None:
    loaded = load_handler(HANDLER, {"REDIS_URL": "redis://127.0.0.1:1/0"})
    assert loaded.name == HANDLER


@given(seed=seeds)
def test_kills_may_double_running_lists_only(seed: int) -> None:
    """The bound grows with the setting, and not with what waits behind a killed host."""
    found = settings(seed)
    plan, workload = found.chaos, Workload.from_settings(found)
    assert plan is not None
    bounds = {}
    for most in (1, plan.list_events, 2 * plan.list_events):
        chosen = {"PROCESSING_BATCH_HANDLER_EVENTS": str(most)}
        own = settings(seed, app_settings=chosen)
        bounds[most] = expected(own, workload, limits(own)).most_suppressed or 0
        assert expected(own, workload, limits(own)).most_listed == most
    times = (bounds[2 * plan.list_events] - bounds[plan.list_events]) / plan.list_events
    assert bounds[1] < bounds[plan.list_events] < bounds[2 * plan.list_events]
    # Each kill ends a list and a commit, and the lists that run when partitions move back.
    assert times >= 2 * 2 * 2 * plan.partitions
    assert times <= 2 * (2 * 2 + 5) * plan.partitions


def test_other_scenarios_have_no_lists() -> None:
    found = chaos_settings({"seed": 1})
    assert expected(found, Workload.from_settings(found), limits(found)).most_listed is None


def test_handler_of_lists_is_judged_in_other_scenarios_too() -> None:
    chosen = {"EVENT_HANDLER": HANDLER, "PROCESSING_BATCH_HANDLER_EVENTS": "20"}
    plain = chaos_settings({"seed": 7, "scenario": Scenario.CRASH_LOOP})
    found = chaos_settings({"seed": 7, "scenario": Scenario.CRASH_LOOP, "app_settings": chosen})
    before, after = (
        expected(each, Workload.from_settings(each), limits(each)) for each in (plain, found)
    )
    assert (before.most_listed, after.most_listed) == (None, 20)
    assert (before.most_suppressed or 0) < (after.most_suppressed or 0)


def verdict(lists: ListEvidence, most: int | None = 5, **changes: Any) -> Verdict:
    expectation = Expectation(1, 1, most_suppressed=30, most_listed=most)
    return judge(lists=lists, expectation=expectation, **changes)


def test_run_with_lists_passes() -> None:
    found = verdict(ListEvidence({1: 4, 3: 2, 5: 7}))
    assert found.broken == ()
    assert (found.lists, found.longest_list, found.most_suppressed) == (9, 5, 30)


@pytest.mark.parametrize(
    ("lists", "line"),
    [
        (ListEvidence({5: 1, 6: 1}), "a list had 6 events, expected at most 5"),
        (ListEvidence({3: 1}, ["[2, 1] are not in order"]), "a list was wrong: [2, 1] are not in"),
        (ListEvidence({1: 40}), "no list had more than one event"),
        (ListEvidence(), "no list had more than one event"),
    ],
)
def test_wrong_lists_are_found(lists: ListEvidence, line: str) -> None:
    [broken] = verdict(lists).broken
    assert broken.startswith(line)


def test_more_doubles_than_the_running_lists_are_found() -> None:
    [broken] = verdict(ListEvidence({5: 1}), suppressed=31).broken
    assert broken.startswith("31 handled events reached the ledger again, expected at most 30")


def test_handler_of_events_needs_no_lists() -> None:
    assert verdict(ListEvidence(), None).broken == ()
