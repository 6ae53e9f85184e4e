"""The plans, events and verdicts of `partial-outage`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arguments import parse
from loadtest.plan.chaos import DRAWN, ChaosPlan, FaultKind
from loadtest.plan.chaos_settings import chaos_settings
from loadtest.plan.marks import Fault
from loadtest.plan.partial_outage import VARIANTS, draw_partial
from loadtest.plan.settings import AppLimits, Scenario, Settings
from loadtest.plan.workload import Workload
from loadtest.verify.evidence import Evidence
from loadtest.verify.expectation import Expectation, of_partial_outage
from loadtest.verify.verdict import Verdict
from loadtest.verify.verifier import verify
from tests.support.loadtest.finished_run import entry, poison_messages

seeds = st.integers(0, 10_000)
EVENTS = 4_000


def settings_of(seed: int, **chosen: object) -> Settings:
    return chaos_settings({"seed": seed, "scenario": Scenario.PARTIAL_OUTAGE, **chosen})


@given(seed=seeds)
def test_a_few_keys_fail_while_hosts_die_and_partitions_move(seed: int) -> None:
    plan = draw_partial(seed, EVENTS)
    assert plan == draw_partial(seed, EVENTS)
    assert 1 <= len(plan.down) <= plan.keys * 0.10
    assert all(0 <= index < plan.keys for index in plan.down)
    assert 20 <= plan.down_seconds <= 40
    assert FaultKind.HOST_KILLED in plan.kinds
    assert plan.kinds & {FaultKind.HOST_ADDED, FaultKind.HOST_TERMINATED}
    for fault in plan.faults:
        assert fault.after_refused == 1, "during the outage"
        assert fault.delay_seconds <= plan.down_seconds - 4


@given(seed=seeds)
def test_outage_ends_before_the_last_event_is_sent(seed: int) -> None:
    """The keys come back while events of theirs arrive."""
    settings = settings_of(seed)
    assert settings.chaos is not None
    sent_seconds = settings.events / settings.rate_per_second
    begins = settings.outage_after / settings.rate_per_second
    assert begins + settings.chaos.down_seconds <= sent_seconds + 1


def test_twenty_five_seeds_bring_every_variant_with_both_poison_orderings() -> None:
    plans = [draw_partial(seed, EVENTS) for seed in range(1, 26)]
    assert {(variant_of(plan), plan.parks) for plan in plans} == {
        (variant, parks) for variant in VARIANTS for parks in (False, True)
    }
    assert {plan.kills for plan in plans} == {1, 2}
    assert any(FaultKind.HOST_ADDED in plan.kinds for plan in plans)
    assert any(FaultKind.HOST_TERMINATED in plan.kinds for plan in plans)


def test_other_plans_never_fill_or_empty_redis() -> None:
    """The plans of earlier seeds must not change."""
    assert not {FaultKind.REDIS_FILLED, FaultKind.REDIS_EMPTIED} & set(DRAWN)


def test_scenario_needs_no_option_for_its_faults() -> None:
    settings = parse(["run", "--scenario", "partial-outage", "--seed", "3"])
    assert isinstance(settings, Settings)
    assert settings.chaos == draw_partial(3, settings.events)
    parks = settings.app_settings.get("PROCESSING_POISON_ORDERING") == "park"
    assert parks == settings.chaos.parks


def test_fewer_keys_still_have_a_failing_one() -> None:
    settings = settings_of(4, keys=2)
    assert settings.chaos is not None
    assert set(settings.chaos.down) <= {0, 1}
    assert settings.chaos.down


@given(seed=seeds)
def test_key_has_at_most_one_poison_event_and_a_deferred_key_has_one(seed: int) -> None:
    workload = Workload.from_settings(settings_of(seed))
    assert all(len(counters) == 1 for counters in workload.faults.values())
    first = workload.key_names[workload.down[0]]
    [counter] = workload.faults[first]
    assert 0.3 <= counter / workload.count(workload.down[0]) <= 0.8


@pytest.mark.parametrize("parks", [False, True])
def test_events_behind_a_poison_event_wait_only_where_poison_parks(parks: bool) -> None:
    workload = partial(parks=parks)
    [(key, [counter])] = [(key, list(each)) for key, each in workload.faults.items()]
    behind = {(key, later) for later in range(counter + 1, 11)}
    assert workload.waiting == (behind if parks else set())


def test_circuit_stays_closed_unless_redis_is_full() -> None:
    """A full Redis is the ledger's outage too; an emptied one repeats events."""
    limits = AppLimits("breakwater", 100, 30.0, 4, 128)
    own = Expectation.of(partial(), limits.failure_threshold)
    assert (own.least_openings, own.most_openings, own.least_deferred) == (0, 0, 1)
    plans = {variant_of(plan): plan for plan in (draw_partial(seed, EVENTS) for seed in range(50))}
    found = {
        variant: of_partial_outage(own, replace(own, most_suppressed=9), plan)
        for variant, plan in plans.items()
    }
    assert found[None] == replace(own, most_suppressed=9)
    assert found[FaultKind.REDIS_FILLED].most_openings is None
    assert found[FaultKind.REDIS_EMPTIED].most_suppressed is None
    assert found[FaultKind.REDIS_EMPTIED].poison_repeats


def test_run_that_deferred_no_key_has_tested_nothing() -> None:
    assert judged(deferred=frozenset()).broken == (
        "no key was deferred, so the run has not tested deferring",
    )


def test_key_that_does_not_come_back_is_named() -> None:
    verdict = judged(still_deferred=frozenset({"key-1"}))
    assert verdict.broken == ("1 keys are still deferred: key-1",)
    assert (verdict.deferred, verdict.came_back) == (2, 1)


@pytest.mark.parametrize("parks", [False, True])
def test_good_run_passes(parks: bool) -> None:
    verdict = judged(parks=parks)
    assert verdict.broken == ()
    assert (verdict.deferred, verdict.came_back) == (2, 2)
    assert verdict.parked == len(partial(parks=parks).waiting)


def test_event_handled_behind_a_poison_event_is_found() -> None:
    """A replay under `park` must stop at the poison event."""
    workload = partial(parks=True)
    [(key, counter)] = [min(workload.waiting)]
    assert (
        "1 unexpected events or keys are in the ledger"
        in judged(parks=True, also={(key, counter)}).broken
    )


def test_parked_event_that_is_gone_is_lost() -> None:
    assert judged(parks=True, parked=frozenset()).lost == len(partial(parks=True).waiting)


def partial(*, parks: bool = False) -> Workload:
    """Return a workload of four keys with ten events each, one of them poison."""
    return Workload(
        Scenario.PARTIAL_OUTAGE, events=40, keys=4, poison_every=0, seed=1, down=(1, 2), parks=parks
    )


def judged(
    *,
    parks: bool = False,
    also: set[tuple[str, int]] | None = None,
    **changes: frozenset[object],
) -> Verdict:
    """Return the verdict on a faultless run with some evidence replaced."""
    workload = partial(parks=parks)
    ledgers = [
        (
            key,
            [
                entry(index, counter)
                for counter in range(1, workload.count(index) + 1)
                if workload.fault(index, counter) is None
                and ((key, counter) not in workload.waiting or (key, counter) in (also or set()))
            ],
        )
        for index, key in enumerate(workload.key_names)
    ]
    values: dict[str, object] = {
        "deferred": frozenset({"key-1", "key-2"}),
        "parked": workload.waiting,
        **changes,
    }
    return verify(
        Evidence(
            workload=workload,
            sent={key: workload.count(i) for i, key in enumerate(workload.key_names)},
            ledgers=ledgers,
            expectation=Expectation.of(workload, 100),
            poison=poison_messages(workload),
            **values,  # type: ignore[arg-type]
        )
    )


def variant_of(plan: ChaosPlan) -> FaultKind | None:
    """Return what happens to Redis in a plan."""
    found = plan.kinds & {FaultKind.REDIS_FILLED, FaultKind.REDIS_EMPTIED}
    return next(iter(found), None)


def test_poison_of_a_partial_outage_is_poison_at_once() -> None:
    """An ordinary error would also count for the circuit."""
    faults = partial().faults.values()
    assert {fault for counters in faults for fault in counters.values()} == {Fault.POISON}
