"""A chaos plan depends on its seed alone and always has enough faults."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breaker.configuration.pipelines import pipelines_of
from loadtest.arguments import parse
from loadtest.errors import UsageError
from loadtest.plan.chaos import DRAWN, LASTING, MOST_KILLS, FaultKind, PlannedFault, draw
from loadtest.plan.chaos_settings import chaos_settings
from loadtest.plan.marks import Delay, Fault
from loadtest.plan.settings import PLANNED, WITH_OUTAGE, Scenario, Settings
from loadtest.plan.workload import Workload
from loadtest.sweep import Outcome, Sweep, parse_scenarios, parse_seeds, tabulate, write_table
from processing.settings import ProcessingSettings

seeds = st.integers(0, 10_000)


@given(seed=seeds)
def test_same_seed_draws_the_same_plan(seed: int) -> None:
    assert draw(seed, 20_000) == draw(seed, 20_000)


def test_plan_of_a_seed_never_changes() -> None:
    """A failing seed is reproducible later and on another machine."""
    plan = draw(1, 20_000)
    assert (plan.partitions, plan.instances, plan.keys, plan.hot_key) == (7, 3, 59, True)
    assert plan.faults[0] == PlannedFault(FaultKind.HOST_TERMINATED, 3065, choice=0.17)
    assert plan.faults[1] == PlannedFault(FaultKind.HUB_PAUSED, 3769, seconds=1.2, choice=0.314)
    assert len(plan.faults) == 9


@given(seed=seeds, events=st.integers(1_000, 100_000))
def test_every_plan_is_within_bounds(seed: int, events: int) -> None:
    plan = draw(seed, events)
    assert len(plan.kinds) >= 5, "at least five faults of different kinds"
    assert 4 <= plan.partitions <= 16
    assert 1 <= plan.instances <= 3
    moments = [fault.after_handled for fault in plan.faults]
    assert moments == sorted(moments)
    assert all(0 < moment < events for moment in moments)
    assert plan.kills <= MOST_KILLS, "a supervisor gives up on a process that ends too often"
    for fault in plan.faults:
        least, most = LASTING.get(fault.kind, (0, 0))
        assert least <= fault.seconds <= most
        assert 0 <= fault.choice <= 1
    assert sum(fault.kind is FaultKind.OUTAGE for fault in plan.faults) <= 1


def test_twenty_five_seeds_bring_every_kind_of_fault() -> None:
    plans = [draw(seed, 20_000) for seed in range(1, 26)]
    assert frozenset[FaultKind]().union(*(plan.kinds for plan in plans)) == set(DRAWN)
    assert {plan.instances for plan in plans} == {1, 2, 3}
    assert {plan.hot_key for plan in plans} == {True, False}
    assert any(plan.hang_every for plan in plans)
    assert any(plan.slow_every for plan in plans)


def test_lanes_in_flight_limit_the_repeats_per_fault() -> None:
    kill = PlannedFault(FaultKind.HOST_KILLED, 10)
    plan = replace(draw(1, 20_000), keys=60, partitions=4, faults=(kill,))
    assert plan.most_repeats(max_lanes=128) == 2 * 60, "one event per key, twice per kill"
    assert plan.most_repeats(max_lanes=10) == 2 * 40, "ten lanes per partition"
    twice = replace(plan, faults=(kill, PlannedFault(FaultKind.HUB_BUSY, 20), kill))
    assert twice.most_repeats(128) == 4 * 60
    assert replace(plan, faults=()).most_repeats(128) == 0
    started = replace(plan, faults=(), starts=2, instances=2)
    assert started.most_repeats(128) == 2 * 60, "the second host takes partitions from the first"
    assert replace(started, instances=1).most_repeats(128) == 0


@given(seed=seeds, size=st.integers(1, 50))
def test_hot_key_has_half_of_the_events_throughout_the_run(seed: int, size: int) -> None:
    workload = Workload.from_settings(chaos_settings({"seed": seed, "events": 2_001}))
    counters: dict[int, int] = {}
    for batch in workload.batches(size):
        assert batch.first == counters.get(batch.key_index, 0) + 1
        counters[batch.key_index] = batch.last
    assert counters == {index: workload.count(index) for index in range(workload.keys)}
    assert sum(counters.values()) == 2_001
    if workload.hot_key:
        assert counters[0] == 1_000
        first_half = workload.sent_counts(size, 1_000)
        assert 400 <= first_half[workload.key_names[0]] <= 600 + size


def test_slow_and_hanging_events_are_drawn_per_event() -> None:
    plan = replace(draw(1, 20_000), slow_every=50, hang_every=1_000, poison_every=500)
    settings = replace(chaos_settings({"seed": 1}), chaos=plan)
    workload = Workload.from_settings(settings)
    delays = [
        workload.delay(index, counter)
        for index in range(workload.keys)
        for counter in range(1, workload.count(index) + 1)
    ]
    slow = [delay for delay in delays if delay is not None and delay[0] is Delay.SLOW]
    hanging = [delay for delay in delays if delay is not None and delay[0] is Delay.HANG]
    assert 300 < len(slow) < 500
    assert 10 < len(hanging) < 35
    assert all(5 <= milliseconds <= 60 for _, milliseconds in slow)
    poisoned = sum(map(len, workload.faults.values()))
    assert 20 < poisoned < 65


def test_options_replace_drawn_values(tmp_path: Path) -> None:
    drawn = parse(["run", "--scenario", "chaos", "--seed", "1"])
    assert isinstance(drawn, Settings)
    assert drawn.chaos == draw(1, 20_000)
    assert (drawn.events, drawn.partitions, drawn.instances, drawn.keys) == (20_000, 7, 3, 59)
    assert drawn.app_settings["BREAKER_FAILURE_THRESHOLD"] == "10"
    line = "run --scenario chaos --seed 1 --keys 9 --partitions 2 --set BREAKER_FAILURE_THRESHOLD=5"
    given = parse(line.split())
    assert isinstance(given, Settings)
    assert given.chaos == replace(draw(1, 20_000), keys=9, partitions=2)
    assert given.app_settings["BREAKER_FAILURE_THRESHOLD"] == "5"


def test_chaos_is_only_accepted_with_a_private_stack() -> None:
    with pytest.raises(UsageError, match="it breaks the stack under test"):
        parse(["run", "--scenario", "chaos", "--target", "running"])
    with pytest.raises(UsageError, match="--faults is only accepted with"):
        parse(["run", "--scenario", "steady", "--faults", "--target", "running"])
    for scenario in PLANNED:
        with pytest.raises(UsageError, match=f"{scenario} needs a chaos plan"):
            Settings(scenario=scenario)


@pytest.mark.parametrize("scenario", [each for each in Scenario if each not in PLANNED])
def test_faults_leave_the_workload_of_another_scenario_alone(scenario: Scenario) -> None:
    settings = parse(["run", "--scenario", scenario, "--faults", "--seed", "1", "--events", "6000"])
    assert isinstance(settings, Settings)
    assert settings.chaos is not None
    assert settings.chaos.faults == draw(1, 6000).faults
    assert (settings.partitions, settings.instances) == (7, 3)
    workload = Workload.from_settings(settings)
    assert not (workload.hot_key or workload.slow_every or workload.hang_every)
    faults = [fault for counters in workload.faults.values() for fault in counters.values()]
    expected = {Scenario.SEED: [Fault.ERROR] * 60, Scenario.OUTAGE: [Fault.POISON] * 3}
    assert faults == expected.get(scenario, [])


def test_an_outage_with_faults_begins_while_events_are_left() -> None:
    settings = parse(["run", "--faults", "--events", "4000"])
    assert isinstance(settings, Settings)
    assert (settings.scenario, settings.outage_after) == (Scenario.OUTAGE, 1600)


@given(seed=seeds, scenario=st.sampled_from(Scenario))
def test_sender_waits_for_each_outage_before_the_last_events(seed: int, scenario: Scenario) -> None:
    """An observer that is slower than the app would let the outage begin after the last event."""
    settings = chaos_settings({"seed": seed, "scenario": scenario, "events": 3_000})
    assert settings.chaos is not None
    if settings.chaos.holds:
        assert settings.holds == settings.chaos.holds
        return
    begins = settings.chaos.outages + ([settings.outage_after] if scenario in WITH_OUTAGE else [])
    assert len(settings.holds) == len(begins)
    for begin, hold in zip(sorted(begins), settings.holds, strict=True):
        assert begin + 100 < hold < 3_000 - 500, "poisoned events are sent, but not handled"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1-4", (1, 2, 3, 4)), ("7", (7,)), ("3,5,10-12", (3, 5, 10, 11, 12))],
)
def test_seeds_are_numbers_and_ranges(text: str, expected: tuple[int, ...]) -> None:
    assert parse_seeds(text) == expected


@pytest.mark.parametrize("text", ["", "a", "1-", "-3", "5-2", "0-5000"])
def test_error_about_seeds_names_the_option(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        parse_seeds(text)


def test_sweep_has_one_run_per_seed() -> None:
    sweep = parse(["chaos-sweep", "--seeds", "3-4", "--events", "4000", "--reports", "r"])
    assert isinstance(sweep, Sweep)
    three, four = sweep
    assert (three.seed, four.seed) == (3, 4)
    assert (four.scenario, four.chaos) == (Scenario.CHAOS, draw(4, 4_000))
    assert four.report == Path("r/seed-4.json")
    assert sweep.jobs == 1


def test_a_sweep_gives_its_seeds_to_the_scenarios_in_turn() -> None:
    sweep = parse(["chaos-sweep", "--seeds", "1-25", "--scenarios", "all", "--jobs", "2"])
    assert isinstance(sweep, Sweep)
    runs = list(sweep)
    assert [settings.seed for settings in runs] == list(range(1, 26))
    counts = Counter(settings.scenario for settings in runs)
    rounds, more = divmod(25, len(Scenario))
    assert counts == {each: rounds + (number < more) for number, each in enumerate(Scenario)}
    assert all(settings.chaos is not None for settings in runs)
    assert sweep.jobs == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", tuple(Scenario)),
        ("chaos", (Scenario.CHAOS,)),
        ("seed, outage", (Scenario.SEED, Scenario.OUTAGE)),
    ],
)
def test_scenarios(text: str, expected: tuple[Scenario, ...]) -> None:
    assert parse_scenarios(text) == expected


def test_error_about_a_sweep_names_the_accepted_values() -> None:
    with pytest.raises(
        UsageError,
        match="takes all, or some of outage, seed, steady, chaos, trickle-outage, dead-key, "
        "partial-outage",
    ):
        parse_scenarios("calm")
    with pytest.raises(UsageError, match="--jobs 0 takes 1 or more"):
        parse(["chaos-sweep", "--seeds", "1", "--jobs", "0"])


def test_the_table_shows_runs_without_a_verdict_too(tmp_path: Path) -> None:
    report = {
        **dict.fromkeys(("handled", "poisoned", "lost", "duplicates", "suppressed"), 0),
        "order_violations": 0,
        "seconds": 30.0,
        "circuit": {"opened": 1},
        "passed": True,
        "broken": [],
    }
    sweep = parse(["chaos-sweep", "--seeds", "1-2", "--scenarios", "seed", "--events", "5000"])
    assert isinstance(sweep, Sweep)
    one, two = sweep
    outcomes = [Outcome(one, report), Outcome(two, None, "no Redis")]
    assert [outcome.passed for outcome in outcomes] == [True, False]
    assert tabulate(outcomes).row_count == 2
    write_table(outcomes, tmp_path / "out" / "sweep.json")
    first, second = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert (first["seed"], first["scenario"], first["events"]) == (1, "seed", 5000)
    assert (first["lost"], first["opened"], first["passed"]) == (0, 1, True)
    assert first["faults"] == [fault.kind.value for fault in draw(1, 5000).faults]
    assert (second["lost"], second["passed"], second["broken"]) == (None, False, ["no Redis"])


@pytest.mark.parametrize("scenario", Scenario)
def test_command_of_an_outcome_repeats_the_same_run(tmp_path: Path, scenario: Scenario) -> None:
    app = tmp_path / "an app"
    app.mkdir()
    (app / "function_app.py").touch()
    options = ["--app", str(app), "--set", "A=x y", "--set", "BREAKER_FAILURE_THRESHOLD=7"]
    line = ["--seeds", "2", "--scenarios", scenario, "--rate", "1234567.5", *options]
    sweep = parse(["chaos-sweep", *line])
    assert isinstance(sweep, Sweep)
    [settings] = sweep
    again = parse(shlex.split(Outcome(settings, None).command))
    assert isinstance(again, Settings)
    assert replace(again, report=settings.report) == settings


def test_command_of_an_outcome_omits_default_app_settings() -> None:
    sweep = parse(["chaos-sweep", "--seeds", "2", "--events", "1000"])
    assert isinstance(sweep, Sweep)
    [settings] = sweep
    command = "run --faults --scenario chaos --seed 2 --events 1000 --rate 1000"
    assert Outcome(settings, None).command == command


def test_sweep_sends_few_events_to_a_slow_stream() -> None:
    """The events of a sweep would last for minutes at the rate of such a scenario."""
    line = "chaos-sweep --seeds 1-2 --scenarios trickle-outage,dead-key --events 3000"
    sweep = parse(line.split())
    assert isinstance(sweep, Sweep)
    assert [settings.events for settings in sweep] == [400, 1200]
    for settings in sweep:
        assert settings.events / settings.rate_per_second < 60


@pytest.mark.parametrize("scenario", sorted(PLANNED))
def test_lease_of_a_killed_replay_ends_before_the_run_stops_waiting(scenario: Scenario) -> None:
    settings = chaos_settings({"seed": 1, "scenario": scenario, "events": 3_000})
    pipeline = pipelines_of(settings.app_settings)[0]
    processing = ProcessingSettings.from_mapping(pipeline.settings)
    assert 2 * processing.lease_seconds < settings.stall_seconds
