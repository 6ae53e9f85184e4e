"""The plans of `readonly-failover`, `no-replicas` and `muted`, and the check of the instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arguments import parse
from loadtest.faults.redis_failover import RedisAbsence
from loadtest.observe.instances import InstanceSeen
from loadtest.plan.chaos import FaultKind
from loadtest.plan.chaos_settings import chaos_settings
from loadtest.plan.redis_failover import (
    MOST_SECONDS,
    NOTICE_SECONDS,
    OpenConnections,
    draw_muted,
    draw_no_replicas,
    draw_readonly_failover,
)
from loadtest.plan.settings import WITH_REPLICA, AppLimits, Scenario, Settings
from loadtest.plan.workload import Workload
from loadtest.verify.evidence import Evidence, LedgerEntry
from loadtest.verify.expectation import Expectation, expected
from loadtest.verify.log_check import SILENT_REDIS
from loadtest.verify.redis_check import MOST_OUTAGES, TAKEOVER_US
from loadtest.verify.verdict import Verdict
from loadtest.verify.verifier import verify
from tests.support.loadtest.finished_run import BASE_US

DRAWS = {
    Scenario.READONLY_FAILOVER: draw_readonly_failover,
    Scenario.NO_REPLICAS: draw_no_replicas,
    Scenario.MUTED: draw_muted,
}
LIMITS = AppLimits("breakwater", 100, 30.0, 4, 128)
SEEDS = range(1, 26)
SECOND = 1_000_000


def settings_of(scenario: Scenario, seed: int) -> Settings:
    return chaos_settings({"seed": seed, "scenario": scenario})


@given(seed=st.integers(0, 10_000), scenario=st.sampled_from(sorted(DRAWS)))
def test_same_seed_draws_the_same_plan(seed: int, scenario: Scenario) -> None:
    assert DRAWS[scenario](seed, 3_000) == DRAWS[scenario](seed, 3_000)


@pytest.mark.parametrize("scenario", sorted(DRAWS))
def test_scenario_needs_no_option_for_its_faults(scenario: Scenario) -> None:
    settings = parse(["run", "--scenario", scenario, "--seed", "3"])
    assert isinstance(settings, Settings)
    assert scenario in WITH_REPLICA
    assert settings.chaos == DRAWS[scenario](3, settings.events)
    assert settings.app_settings["PROCESSING_PARKING_REPLICAS"] == "1"


@given(seed=st.integers(0, 10_000), scenario=st.sampled_from(sorted(DRAWS)))
def test_events_are_left_for_each_fault(seed: int, scenario: Scenario) -> None:
    """The sender waits for each fault, and then has more to send.

    A fault starts once most of the events that were sent until then are handled.
    """
    settings = settings_of(scenario, seed)
    assert settings.chaos is not None
    faults = [each for each in settings.chaos.faults if each.kind is not FaultKind.HOST_KILLED]
    assert len(faults) == len(settings.holds)
    assert settings.holds[-1] <= settings.events * 0.7
    workload = Workload.from_settings(settings)
    for fault, hold in zip(faults, settings.holds, strict=True):
        sent = workload.sent_counts(settings.events_per_batch, hold)
        waiting = sum(counter <= sent[key] for key, counter in workload.waiting)
        assert fault.after_handled < hold - waiting


def test_twenty_five_seeds_bring_every_variant() -> None:
    failovers = [draw_readonly_failover(seed, 3_000) for seed in SEEDS]
    for plan in failovers:
        both = [each for each in plan.faults if each.kind is FaultKind.REDIS_FAILED_OVER]
        assert len(both) == 2
        assert max(each.seconds for each in both) > NOTICE_SECONDS + 1, "health must name one"
        assert min(each.seconds for each in both) < 2, "and one ends at once"
        assert OpenConnections.STAY in {OpenConnections.of(each.choice) for each in both}
    fates = {OpenConnections.of(each.choice) for plan in failovers for each in plan.faults}
    assert fates == set(OpenConnections)
    graces = {
        settings_of(Scenario.NO_REPLICAS, seed).app_settings.get("BREAKER_STORE_GRACE_SECONDS")
        for seed in SEEDS
    }
    assert graces == {None, "3"}
    muted = [draw_muted(seed, 3_000) for seed in SEEDS]
    assert {each.seconds > 0 for plan in muted for each in plan.faults} == {True, False}
    for draws in DRAWS.values():
        plans = [draws(seed, 3_000) for seed in SEEDS]
        assert {plan.kills for plan in plans} == {0, 1}
        assert {(plan.poison_every > 0, plan.parks) for plan in plans} == {
            (poison, parks) for poison in (True, False) for parks in (True, False)
        }


@pytest.mark.parametrize("scenario", sorted(DRAWS))
def test_circuit_must_not_open(scenario: Scenario) -> None:
    settings = settings_of(scenario, 1)
    found = expected(settings, Workload.from_settings(settings), LIMITS)
    assert found.most_openings == 0
    assert found.most_suppressed is not None


def absence(**changes: Any) -> RedisAbsence:
    """Return a failover from second 10 to 19, which two instances have named and survived."""
    values: dict[str, Any] = {
        "kind": FaultKind.REDIS_FAILED_OVER,
        "began_us": BASE_US + 10 * SECOND,
        "ended_us": BASE_US + 19 * SECOND,
        "word": "READONLY",
        "named_us": {"a:1": BASE_US + 12 * SECOND, "b:2": BASE_US + 11 * SECOND},
        "degraded_us": {"a:1": BASE_US + 20 * SECOND, "b:2": BASE_US + 19 * SECOND},
        "well_us": {"a:1": (BASE_US + 21 * SECOND,), "b:2": (BASE_US + 21 * SECOND,)},
    }
    return RedisAbsence(**{**values, **changes})


def judged(
    *absences: RedisAbsence, handled: Sequence[tuple[float, float]] = (), **changes: Any
) -> tuple[str, ...]:
    """Return what is broken; each event has the seconds of its sending and of its handling."""
    workload = Workload(Scenario.STEADY, events=len(handled), keys=1, poison_every=0, seed=0)
    entries = [
        LedgerEntry(counter, "0", counter, at_us(sent) // 1000, at_us(at))
        for counter, (sent, at) in enumerate(handled, start=1)
    ]
    values: dict[str, Any] = {
        "workload": workload,
        "sent": {"key-0": len(handled)},
        "ledgers": [("key-0", entries)],
        "expectation": Expectation(0, 0),
        "redis_absences": absences,
        "instances": 2,
    }
    found: Verdict = verify(Evidence(**{**values, **changes}))
    return found.broken


def at_us(seconds: float) -> int:
    return BASE_US + round(seconds * SECOND)


def test_fault_that_is_named_and_survived_breaks_nothing() -> None:
    assert judged(absence(), handled=[(9, 9), (9, 19.5), (20, 20)]) == ()


def test_instance_that_stays_degraded_is_found() -> None:
    late = at_us(19 + MOST_SECONDS + 3)
    [line] = judged(absence(degraded_us={"a:1": late, "b:2": 0}))
    assert line == (
        "Redis failed over: instance a:1 was degraded for more than 13 s after the end, expected "
        "at most 10 s"
    )


@pytest.mark.parametrize("well", [(), (at_us(9), at_us(19)), (at_us(19 + MOST_SECONDS + 1),)])
def test_instance_that_does_not_answer_after_the_end_is_found(well: tuple[int, ...]) -> None:
    """Silence is no recovery."""
    reports = {"a:1": (at_us(20),), "b:2": well}
    [line] = judged(absence(degraded_us={"a:1": 0, "b:2": 0}, well_us=reports, word=""))
    assert line == (
        "Redis failed over: instance b:2 sent no health report within 10 s after the end"
    )
    assert judged(absence(well_us={"a:1": (at_us(20),)}, degraded_us={"a:1": 0})) == ()


@pytest.mark.parametrize(
    ("named", "when"),
    [({"a:1": at_us(11)}, "never"), ({"a:1": at_us(11), "b:2": at_us(18.5)}, "after 8.5 s")],
)
def test_instance_that_does_not_name_the_reason_is_found(named: dict[str, int], when: str) -> None:
    [line] = judged(absence(named_us=named))
    assert line == (
        f"Redis failed over: the health of instance b:2 named READONLY {when}, expected within 8 s"
    )


def test_report_that_does_not_say_so_is_found() -> None:
    """As of an app that takes an answer to a read for the end of the outage."""
    well = (at_us(11), at_us(18.2), at_us(18.6), at_us(20))
    [line] = judged(absence(well_us={"a:1": well, "b:2": (at_us(19.5),)}))
    assert line == (
        "Redis failed over: 2 health reports of instance a:1 were not degraded while Redis took no "
        "writes"
    )
    assert judged(absence(well_us={"a:1": well, "b:2": well}, word="")) == ()


def test_short_fault_and_silent_redis_need_no_name() -> None:
    assert judged(absence(named_us={}, ended_us=at_us(14))) == ()
    assert judged(absence(named_us={}, word="")) == ()


def test_partition_that_stands_still_is_found() -> None:
    """Neither the fault itself counts, nor a time without a waiting event."""
    end = 19 + MOST_SECONDS
    assert judged(absence(), handled=[(8, 9), (9, end - 1), (end + 30, end + 31)]) == ()
    [line] = judged(absence(), handled=[(8, 9), (9, end + 2)])
    assert line == (
        "partition 0 stood still for 12 s although events waited and Redis took writes, expected "
        "at most 10 s"
    )


def test_partition_of_a_killed_host_may_wait_for_its_new_owner() -> None:
    killed, until = 20.0, 20.0 + TAKEOVER_US / SECOND
    handled = [(8, 19), (9, until + 5)]
    assert judged(absence(), handled=handled, killed_us=[at_us(killed)]) == ()
    assert judged(absence(), handled=handled) != ()


def test_grace_time_that_begins_again_and_again_is_found() -> None:
    most = MOST_OUTAGES * 2
    line = f"READONLY; {SILENT_REDIS} 30 s"
    assert judged(absence(), log=[line] * most) == ()
    assert judged(absence(), log=[line] * (most + 1)) == (
        f"the instances reported {most + 1} outages of Redis, expected at most {most} in 1 faults",
    )
    assert judged(log=[line] * 100) == (), "without these faults the log says nothing"


def test_reports_of_an_instance_are_noted() -> None:
    seen = InstanceSeen()
    well = {"status": "ok", "circuit": {"degraded": False}, "problems": []}
    seen.note(well, ("READONLY",), 1)
    assert (seen.well_us, seen.degraded_us, seen.named_us) == (1, 0, {})
    seen.note({**well, "circuit": {"degraded": True}}, ("READONLY",), 2)
    problem = {**well, "status": "degraded", "problems": ["Redis takes no writes: READONLY"]}
    seen.note(problem, ("READONLY",), 3)
    first = seen.named_us["READONLY"]
    seen.note(problem, ("READONLY",), 4)
    assert (seen.well_us, seen.degraded_us, seen.named_us) == (1, 4, {"READONLY": first})


def test_result_of_a_fault_says_how_the_instances_fared() -> None:
    assert absence().text == (
        "of 2 instances 2 were degraded, until 1.0 s after the end; 2 named READONLY within 2.0 s"
    )
    quiet = absence(word="", named_us={}, degraded_us={"a:1": 0})
    assert quiet.text == "of 1 instances 0 were degraded"
