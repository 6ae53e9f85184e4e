"""The plans, events and verdicts of `crash-loop` and `blocked-loop`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arguments import parse
from loadtest.plan.chaos import MOST_DEATHS, FaultKind
from loadtest.plan.chaos_settings import chaos_settings
from loadtest.plan.crashes import HANDLER, PLAIN_HANDLER, draw_blocked_loop, draw_crash_loop
from loadtest.plan.marks import Delay, Fault
from loadtest.plan.settings import AppLimits, Scenario, Settings
from loadtest.plan.workload import Workload
from loadtest.send.producer import Order, event
from loadtest.verify.evidence import Evidence
from loadtest.verify.expectation import Expectation, expected
from loadtest.verify.log_check import read_lines
from loadtest.verify.verdict import Verdict
from loadtest.verify.verifier import verify
from processing.handlers.loading import load_handler
from tests.support.loadtest.finished_run import entry, poison_message

seeds = st.integers(0, 10_000)
DRAWS = {Scenario.CRASH_LOOP: draw_crash_loop, Scenario.BLOCKED_LOOP: draw_blocked_loop}
LIMITS = AppLimits("breakwater", 100, 30.0, 4, 128)


def settings_of(seed: int, scenario: Scenario, **chosen: object) -> Settings:
    return chaos_settings({"seed": seed, "scenario": scenario, **chosen})


@given(seed=seeds, scenario=st.sampled_from(sorted(DRAWS)))
def test_same_seed_draws_the_same_plan_and_events(seed: int, scenario: Scenario) -> None:
    settings = settings_of(seed, scenario, events=200)
    assert settings.chaos == DRAWS[scenario](seed, settings.events)
    one, two = (Workload.from_settings(settings) for _ in range(2))
    assert (one.faults, one.blocking) == (two.faults, two.blocking)


@given(seed=seeds)
def test_exactly_one_event_kills_and_many_events_follow_it(seed: int) -> None:
    workload = Workload.from_settings(settings_of(seed, Scenario.CRASH_LOOP, events=600))
    [(key, counters)] = workload.faults.items()
    [(counter, fault)] = counters.items()
    assert fault is Fault.KILL
    count = workload.count(workload.key_names.index(key))
    assert 0.15 <= counter / count <= 0.5
    assert not workload.blocking


@given(seed=seeds)
def test_events_block_the_loop_or_one_holds_the_interpreter(seed: int) -> None:
    """A plain handler runs in threads, so that its events block no loop."""
    settings = settings_of(seed, Scenario.BLOCKED_LOOP, events=600)
    workload = Workload.from_settings(settings)
    if workload.faults:
        [faults] = workload.faults.values()
        assert list(faults.values()) == [Fault.SEIZE]
        assert not workload.blocking
        assert settings.app_settings["EVENT_HANDLER"] == PLAIN_HANDLER
        return
    assert settings.app_settings["EVENT_HANDLER"] == HANDLER
    assert 1 <= len(workload.blocking) <= 5
    for key, counter in workload.blocking:
        delay = workload.delay(workload.key_names.index(key), counter)
        assert delay is not None
        assert delay[0] is Delay.BLOCK
        assert 2_000 < delay[1] < 3_000, "noticed for sure, and shorter than the time limit"


def test_twenty_five_seeds_bring_every_variant() -> None:
    crashes = [draw_crash_loop(seed, 1_500) for seed in range(1, 26)]
    assert {len(plan.faults) for plan in crashes} == {0, 1, 2}
    assert {fault.kind for plan in crashes for fault in plan.faults} == {
        FaultKind.HOST_KILLED,
        FaultKind.HOST_TERMINATED,
    }
    assert {plan.instances for plan in crashes} == {1, 2, 3}
    assert {bool(plan.hang_every) for plan in crashes} == {True, False}
    assert {draw_blocked_loop(seed, 1_500).deadly for seed in range(1, 26)} == {"", "seize"}


@pytest.mark.parametrize("scenario", sorted(DRAWS))
def test_scenario_needs_no_option_for_its_faults(scenario: Scenario) -> None:
    settings = parse(["run", "--scenario", scenario, "--seed", "3"])
    assert isinstance(settings, Settings)
    assert settings.chaos == DRAWS[scenario](3, settings.events)


@pytest.mark.parametrize("name", [HANDLER, PLAIN_HANDLER])
async def test_app_loads_the_harmful_handlers(name: str) -> None:
    handler = load_handler(name, {"REDIS_URL": "redis://127.0.0.1:1"})
    await handler.start()
    await handler.aclose()


def test_other_scenarios_run_the_deployed_handler() -> None:
    for scenario in set(Scenario) - set(DRAWS) - {Scenario.TWO_PIPELINES, Scenario.LISTS}:
        assert "EVENT_HANDLER" not in settings_of(1, scenario).app_settings


def test_deadly_event_is_the_same_on_both_sides_of_the_pipe() -> None:
    workload = Workload.from_settings(settings_of(2, Scenario.CRASH_LOOP))
    order = Order.from_json(
        Order(
            connection="",
            event_hub="events",
            run="r",
            events_per_batch=1,
            rate_per_second=0,
            workload=workload,
        ).to_json()
    )
    assert order.workload == workload
    [(key, [counter])] = [(key, list(each)) for key, each in workload.faults.items()]
    sent = event(order, workload.key_names.index(key), counter)
    assert sent.properties["simulate"] == "kill"


def test_deploys_may_hide_deaths() -> None:
    """Without a deployment five deaths are the most."""
    plans = [settings_of(seed, Scenario.CRASH_LOOP) for seed in range(20)]
    for settings in plans:
        assert settings.chaos is not None
        found = expected(settings, Workload.from_settings(settings), LIMITS)
        assert found.most_deaths == MOST_DEATHS + len(settings.chaos.faults)
        assert found.most_openings == 0
    seizing = [seed for seed in range(20) if draw_blocked_loop(seed, 1).deadly]
    settings = settings_of(seizing[0], Scenario.BLOCKED_LOOP)
    found = expected(settings, Workload.from_settings(settings), LIMITS)
    assert found.most_deaths == MOST_DEATHS + 2, "two owners may run the event at the same time"
    quiet = [seed for seed in range(20) if not draw_blocked_loop(seed, 1).deadly]
    settings = settings_of(quiet[0], Scenario.BLOCKED_LOOP)
    assert expected(settings, Workload.from_settings(settings), LIMITS).most_deaths is None


def test_run_with_few_deaths_passes() -> None:
    verdict = judged(deaths=5)
    assert verdict.broken == ()
    assert (verdict.deaths, verdict.poisoned) == (5, 1)


@pytest.mark.parametrize("deaths", [0, 6])
def test_run_with_no_or_too_many_deaths_fails(deaths: int) -> None:
    assert judged(deaths=deaths).broken == (
        f"the deadly event ended {deaths} processes, expected 1 to 5",
    )


def test_other_poisoned_event_is_found() -> None:
    """Only the event that kills may be blamed."""
    verdict = judged(deaths=3, also_poisoned=("key-2", 3))
    assert "1 unexpected events are in the poison queue" in verdict.broken


def test_deadly_event_that_is_not_poisoned_is_missing() -> None:
    lines = judged(deaths=5, poison=[]).broken
    assert lines == ("1 events were lost", "1 faulty events are missing from the poison queue")


def test_blocking_event_must_be_named_with_its_handler() -> None:
    assert blocked().broken == ()
    assert blocked(log=[]).broken == ("the log does not name 2 events that blocked their process",)
    for wrong in ("Blocked loop: handler Other", "Slow: HarmfulHandler"):
        lines = [f"{wrong}, event ns/events/0/{number}/1700" for number in range(40)]
        assert blocked(log=lines).broken == blocked(log=[]).broken


def test_event_that_seized_the_interpreter_must_be_named() -> None:
    """The next process logs the events that the dead one ran."""
    workload = blocked_workload(deadly=Fault.SEIZE, blocks=0)
    [counter] = [counter for each in workload.faults.values() for counter in each]
    assert blocked(log=[], deadly=Fault.SEIZE, blocks=0).broken == (
        "the log does not name 1 events that blocked their process",
    )
    line = f"Blocked process: process 7 in handler HarmfulHandler ran event ns/e/0/{counter}/1"
    assert blocked(log=[line], deadly=Fault.SEIZE, blocks=0).broken == ()


def test_blocked_loop_is_not_taken_for_a_silent_redis() -> None:
    line = "[1] ERROR: Redis at 127.0.0.1 does not answer; nothing starts for up to 30 s"
    [found] = blocked(more=[line, line]).broken
    assert found.startswith("2 times an instance took its blocked loop for a Redis that")


def test_only_lines_of_the_check_are_kept() -> None:
    text = "a\nBlocked loop: HarmfulHandler\nRedis; nothing starts for up to 30 s\nb\n"
    assert len(read_lines([text, text])) == 4


def blocked_workload(*, deadly: Fault | None = None, blocks: int = 2) -> Workload:
    return Workload(
        Scenario.BLOCKED_LOOP,
        events=40,
        keys=4,
        poison_every=0,
        seed=1,
        deadly=deadly,
        blocks=blocks,
    )


def blocked(
    *, log: list[str] | None = None, more: list[str] | None = None, **changes: Any
) -> Verdict:
    """Return the verdict on a run whose log names all blocking events, unless `log` is given."""
    workload = blocked_workload(**changes)
    ledgers, lines = [], []
    for index, key in enumerate(workload.key_names):
        entries = [entry(index, n) for n in range(1, 11) if workload.fault(index, n) is None]
        ledgers.append((key, entries))
        lines += [
            f"Blocked loop: stood still (handler x:HarmfulHandler, event ns/e/0/{each.sequence}/1)"
            for each in entries
            if (key, each.counter) in workload.blocking
        ]
    return verify(
        Evidence(
            workload=workload,
            sent=dict.fromkeys(workload.key_names, 10),
            ledgers=ledgers,
            expectation=Expectation(0, 0, names_blocks=True),
            poison=[
                poison_message(key, counter, fault, 5)
                for key, counters in workload.faults.items()
                for counter, fault in counters.items()
            ],
            log=[*(lines if log is None else log), *(more or ())],
        )
    )


def judged(*, deaths: int, also_poisoned: tuple[str, int] | None = None, **changes: Any) -> Verdict:
    """Return the verdict on a run whose deadly event was poisoned."""
    workload = Workload(
        Scenario.CRASH_LOOP, events=40, keys=4, poison_every=0, seed=1, deadly=Fault.KILL
    )
    poison = [
        poison_message(key, counter, fault, deaths)
        for key, counters in workload.faults.items()
        for counter, fault in counters.items()
    ]
    if also_poisoned is not None:
        poison.append(poison_message(*also_poisoned, Fault.POISON, 1))
    ledgers = [
        (
            key,
            [
                entry(index, counter)
                for counter in range(1, 11)
                if workload.fault(index, counter) is None and (key, counter) != also_poisoned
            ],
        )
        for index, key in enumerate(workload.key_names)
    ]
    expectation = Expectation(0, 0, most_deaths=MOST_DEATHS)
    values: dict[str, Any] = {"poison": poison, **changes}
    return verify(
        Evidence(
            workload=workload,
            sent=dict.fromkeys(workload.key_names, 10),
            ledgers=ledgers,
            expectation=expectation,
            deaths=deaths,
            **values,
        )
    )
