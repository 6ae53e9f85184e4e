"""The plans of `trickle-outage` and `dead-key` depend on their seed alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arguments import parse
from loadtest.plan.chaos import KILLS, ChaosPlan
from loadtest.plan.chaos_settings import chaos_settings
from loadtest.plan.few_keys import draw_dead_key, draw_trickle
from loadtest.plan.settings import Scenario, Settings

seeds = st.integers(0, 10_000)
DRAWS = {Scenario.TRICKLE_OUTAGE: draw_trickle, Scenario.DEAD_KEY: draw_dead_key}


@given(seed=seeds, scenario=st.sampled_from(sorted(DRAWS)))
def test_same_seed_draws_the_same_plan(seed: int, scenario: Scenario) -> None:
    assert DRAWS[scenario](seed, 400) == DRAWS[scenario](seed, 400)


def test_plans_of_a_seed_never_change() -> None:
    """A failing seed is reproducible later and on another machine."""
    assert {seed: shape(draw_trickle(seed, 400)) for seed in SHAPES} == SHAPES


@given(seed=seeds)
def test_trickle_has_few_keys_and_one_or_two_kills(seed: int) -> None:
    """A kill hits the lanes that fail, or the lanes that have resumed."""
    plan = draw_trickle(seed, 400)
    assert 1 <= plan.keys <= 4
    assert 1 <= len(plan.faults) <= 2
    assert {fault.kind for fault in plan.faults} <= KILLS
    for fault in plan.faults:
        if fault.after_refused:
            assert 2 <= fault.after_refused <= 8, (
                "before the tenth failed attempt opens the circuit"
            )
        else:
            assert 0.7 * 400 - 1 <= fault.after_handled <= 0.9 * 400, "after the outage"


@given(seed=seeds)
def test_dead_key_alone_does_not_open_the_circuit_again(seed: int) -> None:
    """An event counts once: an outage of all keys opens the circuit, and one dead key does not."""
    settings = chaos_settings({"seed": seed, "scenario": Scenario.DEAD_KEY})
    threshold = int(settings.app_settings["BREAKER_FAILURE_THRESHOLD"])
    assert 1 < threshold < settings.keys <= 10
    assert settings.chaos is not None
    for fault in settings.chaos.faults:
        assert fault.kind in KILLS
        assert settings.outage_after < fault.after_handled < settings.events


@pytest.mark.parametrize("scenario", sorted(DRAWS))
def test_outage_begins_after_enough_gaps_between_successes(scenario: Scenario) -> None:
    """An instance notes one success a second; with fewer than ten gaps the rule waits long."""
    settings = chaos_settings({"scenario": scenario})
    assert settings.outage_after / settings.rate_per_second >= 12


def test_twenty_five_seeds_bring_every_variant() -> None:
    trickles = [draw_trickle(seed, 400) for seed in range(1, 26)]
    assert {plan.keys for plan in trickles} == {1, 2, 3, 4}
    assert {plan.approves_early for plan in trickles} == {True, False}
    kills = {tuple(bool(fault.after_refused) for fault in plan.faults) for plan in trickles}
    assert kills == {(True,), (False,), (True, False)}
    dead = [draw_dead_key(seed, 1_200) for seed in range(1, 26)]
    assert {len(plan.faults) for plan in dead} == {0, 1}


@pytest.mark.parametrize("scenario", sorted(DRAWS))
def test_scenario_needs_no_option_for_its_faults(scenario: Scenario) -> None:
    settings = parse(["run", "--scenario", scenario, "--seed", "3"])
    assert isinstance(settings, Settings)
    assert settings.chaos == DRAWS[scenario](3, settings.events)
    assert settings.outage_after == int(0.4 * settings.events)


def shape(plan: ChaosPlan) -> tuple[int, int, int, bool, list[tuple[int, int]]]:
    """Return the partitions, hosts and keys of a plan, its operator, and when its hosts die."""
    moments = [(fault.after_refused, fault.after_handled) for fault in plan.faults]
    return plan.partitions, plan.instances, plan.keys, plan.approves_early, moments


SHAPES = {
    1: (1, 2, 1, True, [(5, 0)]),
    10: (2, 1, 1, True, [(3, 0), (0, 285)]),
    12: (1, 2, 2, False, [(2, 0), (0, 326)]),
}
