"""The events of each scenario, and their faults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.plan.marks import Fault
from loadtest.plan.settings import Scenario
from loadtest.plan.workload import Workload
from loadtest.verify.expectation import Expectation

workloads = st.builds(
    Workload,
    scenario=st.sampled_from(list(Scenario)),
    events=st.integers(20, 400),
    keys=st.integers(1, 20),
    poison_every=st.integers(0, 50),
    seed=st.integers(0, 5),
)


def test_demo_has_fifty_poison_events_spread_over_keys_and_time() -> None:
    workload = Workload(Scenario.OUTAGE, events=100_000, keys=100, poison_every=2_000, seed=0)
    faults = workload.faults
    assert sum(map(len, faults.values())) == 50
    assert {fault for counters in faults.values() for fault in counters.values()} == {Fault.POISON}
    assert len(faults) > 25, "many keys are hit"
    blocks = {(counter - 1) * 100 // 2_000 for counters in faults.values() for counter in counters}
    assert len(blocks) == 50, "one per block of 2,000"


def test_seed_fails_every_hundredth_event_of_each_key() -> None:
    workload = Workload(Scenario.SEED, events=20_000, keys=100, poison_every=2_000, seed=0)
    assert set(workload.faults) == set(workload.key_names)
    assert all(set(counters) == {100, 200} for counters in workload.faults.values())


def test_steady_has_no_faults() -> None:
    assert Workload(Scenario.STEADY, 1_000, 10, 10, 0).faults == {}


@given(workload=workloads, size=st.integers(1, 50))
def test_each_key_is_sent_in_order_and_completely(workload: Workload, size: int) -> None:
    counters: dict[int, list[int]] = {}
    for batch in workload.batches(size):
        assert 1 <= len(batch) <= size
        counters.setdefault(batch.key_index, []).extend(range(batch.first, batch.last + 1))
    assert counters == {
        index: list(range(1, workload.count(index) + 1)) for index in range(workload.keys)
    }
    assert sum(map(len, counters.values())) == workload.events


@given(workload=workloads, size=st.integers(1, 50), data=st.data())
def test_sent_counts_follow_the_sending_order(
    workload: Workload, size: int, data: st.DataObject
) -> None:
    acknowledged = data.draw(st.integers(0, workload.events))
    counts = workload.sent_counts(size, acknowledged)
    assert sum(counts.values()) == acknowledged
    everything = workload.sent_counts(size, workload.events + size)
    assert sum(everything.values()) == workload.events
    assert all(counts[key] <= everything[key] for key in workload.key_names)


@given(workload=workloads)
def test_two_processes_compute_the_same_faults(workload: Workload) -> None:
    twin = Workload(
        workload.scenario, workload.events, workload.keys, workload.poison_every, workload.seed
    )
    assert twin.faults == workload.faults
    if workload.scenario is Scenario.OUTAGE and workload.poison_every:
        blocks = workload.events // workload.poison_every
        assert sum(map(len, workload.faults.values())) == blocks


def test_another_seed_poisons_other_events() -> None:
    one, two = (Workload(Scenario.OUTAGE, 10_000, 10, 100, seed).faults for seed in (1, 2))
    assert one != two


@pytest.mark.parametrize(
    ("scenario", "events", "expected"),
    [
        (Scenario.OUTAGE, 1_000, Expectation(1, 1)),
        (Scenario.TRICKLE_OUTAGE, 1_000, Expectation(1, 1)),
        (Scenario.DEAD_KEY, 1_000, Expectation(1, 1)),
        (Scenario.STEADY, 1_000, Expectation(0, 0)),
        (Scenario.SEED, 20_000, Expectation(1, None)),
        (Scenario.SEED, 1_000, Expectation(0, None)),
    ],
)
def test_scenario_has_its_expected_openings(
    scenario: Scenario, events: int, expected: Expectation
) -> None:
    workload = Workload(scenario, events, min(100, events // 10), 100, 0)
    assert Expectation.of(workload, failure_threshold=100) == expected
