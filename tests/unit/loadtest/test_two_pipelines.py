"""The plans, settings, verdicts and reports of `two-pipelines`."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from breaker.configuration.pipelines import pipelines_of
from loadtest.arguments import parse
from loadtest.errors import UsageError
from loadtest.plan.chaos_settings import chaos_settings, settings_of
from loadtest.plan.marks import Fault
from loadtest.plan.settings import AppLimits, Scenario, Settings
from loadtest.plan.two_pipelines import MORE_EVENTS, PIPELINES, draw_two_pipelines
from loadtest.plan.workload import Workload
from loadtest.report.files import write
from loadtest.report.pipelines import PipelinesReport
from loadtest.report.summary import show
from loadtest.target.endpoints import Endpoints
from loadtest.verify.circuit_check import OPENED_ALERT
from loadtest.verify.evidence import Alert, LedgerEntry, Transition
from loadtest.verify.expectation import expected
from loadtest.verify.two_pipelines import Kept, PipelinesEvidence, PipelinesVerdict, judge, spans_of
from tests.support.loadtest.finished_run import judge as verdict_of
from tests.support.loadtest.finished_run import report as report_of

seeds = st.integers(0, 10_000)
START_US = 1_800_000_000_000_000
OPENED_US, ENDED_US = START_US + 10_000_000, START_US + 20_000_000
OPENING = (
    Transition("opened", 1, OPENED_US),
    Transition("approved", 1, ENDED_US - 1, "loadtest"),
    Transition("half_opened", 1, ENDED_US),
    Transition("closed", 1, ENDED_US + 500_000),
)
CIRCUITS = {name: f"breakwater-{name}" for name in PIPELINES}
ALERT = Alert("breakwater-orders:1:opened", OPENED_ALERT, 1, "", "pipeline", "breakwater-orders")
KEPT = Kept({"a": {"id": "a", "redrives": 0}}, frozenset({("key-1", 7)}))


def settings(seed: int, **chosen: object) -> Settings:
    return chaos_settings({"seed": seed, "scenario": Scenario.TWO_PIPELINES, **chosen})


def parts_of(seed: int) -> tuple[Settings, Settings]:
    """Return the settings of the hit pipeline and of the other."""
    whole = settings(seed)
    assert whole.chaos is not None
    [other] = set(PIPELINES) - {whole.chaos.hit}
    return settings_of(whole, whole.chaos.hit), settings_of(whole, other)


@given(seed=seeds)
def test_plan_is_a_function_of_the_seed(seed: int) -> None:
    plan = draw_two_pipelines(seed, 3_000)
    assert plan == draw_two_pipelines(seed, 100)
    assert plan.hit in PIPELINES
    assert all(fault.after_refused == 1 for fault in plan.faults), "in the outage"


def test_twenty_five_seeds_bring_every_variant() -> None:
    plans = [draw_two_pipelines(seed, 3_000) for seed in range(1, 26)]
    assert {plan.hit for plan in plans} == set(PIPELINES)
    assert (
        {plan.isolates for plan in plans} == {plan.other_parks for plan in plans} == {True, False}
    )
    assert {plan.instances for plan in plans} == {1, 2, 3}
    assert len(frozenset[object]().union(*(plan.kinds for plan in plans))) == 5


def test_app_gets_two_pipelines_with_a_hub_and_a_circuit_each() -> None:
    found = pipelines_of(settings(3).app_settings)
    assert [each.name for each in found] == list(PIPELINES)
    assert len({each.settings["EVENT_HUB_NAME"] for each in found}) == 2
    assert len({each.settings["BREAKER_NAME"] for each in found}) == 2
    assert {each.settings["EVENT_HANDLER"] for each in found} == {
        "loadtest.handlers.curable:CurableHandler"
    }


@given(seed=seeds)
def test_pipelines_have_the_same_events_but_other_poison(seed: int) -> None:
    """A part that mixed up the pipelines would mix up their keys and positions."""
    hit, other = (Workload.from_settings(each) for each in parts_of(seed))
    assert hit.key_names == other.key_names
    assert hit.events == other.events
    assert hit.faults != other.faults
    for each in (hit, other):
        assert {fault for faults in each.faults.values() for fault in faults.values()} == {
            Fault.POISON
        }
    assert hit.parks
    assert hit.waiting
    assert other.parks == bool(other.waiting)


def test_cured_workload_has_no_poison_event() -> None:
    hit, _ = parts_of(1)
    cured = replace(Workload.from_settings(hit), cured=True)
    assert (cured.faults, cured.waiting) == ({}, frozenset())


@given(seed=seeds)
def test_other_pipeline_is_sent_events_after_each_act(seed: int) -> None:
    """Without the holds, a slow machine could handle its last event before the opening."""
    hit, other = parts_of(seed)
    assert hit.chaos is not None
    assert len(other.holds) == 1 + hit.chaos.isolates
    for hold, following in zip(other.holds, (*other.holds[1:], other.events), strict=True):
        assert following - hold > 5 * MORE_EVENTS
    assert hit.holds[0] > hit.outage_after + 100


def test_only_the_circuit_of_the_hit_pipeline_opens() -> None:
    limits = AppLimits("breakwater-orders", 10, 5.0, 4, 128)
    hit, other = (expected(each, Workload.from_settings(each), limits) for each in parts_of(2))
    assert (hit.least_openings, hit.most_openings) == (1, 1)
    assert (other.least_openings, other.most_openings) == (0, 0)


def test_scenario_needs_no_option_for_its_pipelines() -> None:
    found = parse(["run", "--scenario", "two-pipelines", "--seed", "3", "--events", "900"])
    assert isinstance(found, Settings)
    assert found.chaos == draw_two_pipelines(3, 900)
    assert (found.events, found.all_events) == (900, 1_800)


def test_approval_by_a_person_is_refused() -> None:
    with pytest.raises(UsageError, match="--approve person is not accepted"):
        parse(["run", "--scenario", "two-pipelines", "--approve", "person"])


def test_endpoints_are_those_of_the_pipeline(tmp_path: Path) -> None:
    file = tmp_path / "local.settings.json"
    values = {"POISON_QUEUE": "poison", "EVENT_HUB_NAME": "events", **settings(1).app_settings}
    file.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    whole = Endpoints(
        redis_url="",
        storage_connection_string="",
        event_hub_connection="",
        event_hub_name="events",
        event_grid_topic_endpoint="",
        cloud_url="",
        management_url="",
        workflow_url="",
        poison_queue="poison",
        settings_file=file,
    )
    audit = whole.of("audit")
    assert (audit.event_hub_name, audit.poison_queue) == ("audit-events", "poison-audit")
    assert audit.pipeline_settings()["BREAKER_NAME"] == "breakwater-audit"
    assert audit.pipeline_options == ("--pipeline", "audit")
    assert whole.pipeline_options == ()
    with pytest.raises(UsageError, match="has no pipeline 'mail'"):
        whole.of("mail")


def test_spans_are_the_times_in_which_the_pipeline_may_not_run() -> None:
    history = (
        Transition("isolated", 1, START_US, "loadtest"),
        Transition("closed", 1, START_US + 5, "loadtest"),
        *(each._replace(generation=2) for each in OPENING),
        Transition("opened", 3, ENDED_US + 900_000),
    )
    assert [(span.state, span.since_us, span.until_us) for span in spans_of(history)] == [
        ("isolated", START_US, START_US + 5),
        ("opened", OPENED_US, ENDED_US),
    ]


def test_good_run_passes() -> None:
    verdict = judged()
    assert verdict.broken == ()
    assert (verdict.held, verdict.redriven, verdict.kept) == (0, 3, 2)
    assert verdict.while_held == 90, "events of the nine seconds after the grace"


def test_event_that_waited_for_the_hit_pipeline_is_found() -> None:
    enqueued_us = OPENED_US - 5_000
    late = LedgerEntry(999, "0", 999, enqueued_us // 1000, ENDED_US + 1_000)
    verdict = judged(other=[*entries(), late])
    assert verdict.broken == ("1 events of audit waited for orders",)
    assert verdict.diff == ("held: key-0 #999 of audit waited while orders was opened",)


def test_pipeline_that_stood_still_is_found() -> None:
    quiet = [each for each in entries() if not OPENED_US < each.appended_us < ENDED_US]
    assert judged(other=quiet).broken == (
        "0 events of audit were handled while orders was opened, expected at least 40",
    )


def test_event_in_flight_at_the_opening_may_finish() -> None:
    early = LedgerEntry(1, "0", 1, START_US // 1000, OPENED_US + 2_000_000)
    assert judged(hit=[early]).broken == ()


def test_event_of_an_isolated_pipeline_is_found() -> None:
    early = LedgerEntry(1, "0", 1, START_US // 1000, OPENED_US + 4_000_000)
    assert judged(hit=[early]).broken == (
        "1 events of orders were handled while its circuit held them",
    )


def test_run_without_an_opening_has_tested_nothing() -> None:
    assert judged(histories={"orders": (), "audit": ()}).broken == (
        "orders was never open or isolated, so the run has tested nothing",
    )


def test_alert_of_the_wrong_kind_is_found() -> None:
    assert judged(alerts=[ALERT._replace(kind="app")]).broken == (
        "the alert breakwater-orders:1:opened has the kind 'app', expected pipeline",
    )


def test_alert_about_no_pipeline_is_found() -> None:
    assert judged(alerts=[ALERT._replace(circuit="breakwater")]).broken == (
        "the alert breakwater-orders:1:opened is about the circuit of no pipeline",
    )


def test_approval_of_the_other_pipeline_is_found() -> None:
    moved = (Transition("closed", 1, ENDED_US, "ada"),)
    assert judged(histories={"orders": OPENING, "audit": moved}).broken == (
        "the circuit of audit moved (closed, by ada), expected nothing",
    )


def test_stop_of_the_app_is_found() -> None:
    move = "Stop_the_app for breakwater-orders, generation 1"
    assert judged(moves=[move], app_states=frozenset({"Running", "Stopped"})).broken == (
        f"the workflow called the platform: {move}",
        "the function app was Stopped, expected Running",
    )


def test_redrive_that_touches_the_other_pipeline_is_found() -> None:
    tried: dict[object, Any] = {"a": {"id": "a", "redrives": 1}}
    assert judged(after=Kept(tried, KEPT.parked)).broken == (
        "the redrive of orders changed 1 poison messages of audit",
    )
    assert judged(after=Kept({}, frozenset())).broken == (
        "the redrive of orders changed 1 poison messages of audit",
        "the redrive of orders moved 1 parked events of audit",
    )


def test_redrive_of_nothing_has_tested_nothing() -> None:
    [line] = judged(redriven=0).broken
    assert line.endswith("so the redrive has tested nothing")


def test_report_names_the_pipeline_of_each_broken_promise(tmp_path: Path) -> None:
    bad = replace(verdict_of(), broken=("1 events were lost",), lost=1)
    report = PipelinesReport(
        "orders",
        {"orders": report_of(pipeline="orders"), "audit": report_of(pipeline="audit", verdict=bad)},
        replace(judged(), broken=("1 events of audit waited for orders",)),
    )
    assert not report.passed
    assert report.broken == (
        "audit: 1 events were lost",
        "1 events of audit waited for orders",
    )
    written = write(report, Settings(report=tmp_path / "report.json"))
    document = json.loads(written["report"].read_text())
    assert (document["sent"], document["lost"], document["passed"]) == (80, 1, False)
    assert document["circuit"]["opened"] == 1
    assert set(document["pipelines"]) == set(PIPELINES)
    assert document["pipelines"]["audit"]["pipeline"] == "audit"
    assert {file.name for file in written.values()} == {
        *("report.json", "report.html", "report-orders.png", "report-audit.png")
    }
    page = written["page"].read_text()
    assert page.count("<h1>") == 1
    for heading in ("<h2>Pipeline orders</h2>", "<h2>Pipeline audit</h2>"):
        assert heading in page
    assert "1 events of audit waited for orders" in page
    console = Console(record=True, width=120, file=io.StringIO())
    show(report, console)
    text = console.export_text()
    assert "Scenario outage, audit" in text
    assert "Broken promises or expectations: 2" in text


def entries() -> list[LedgerEntry]:
    """Return ten events a second, for thirty seconds, each handled 10 ms after its arrival."""
    return [
        LedgerEntry(number, "0", number, at_us // 1000, at_us + 10_000)
        for number, at_us in enumerate(range(START_US, START_US + 30_000_000, 100_000), start=1)
    ]


def judged(
    *,
    other: list[LedgerEntry] | None = None,
    hit: list[LedgerEntry] | None = None,
    **changes: Any,
) -> PipelinesVerdict:
    """Return the verdict on a faultless run, in which `orders` is hit, with some parts replaced."""
    values: dict[str, Any] = {
        "histories": {"orders": OPENING, "audit": ()},
        "alerts": [ALERT],
        "app_states": frozenset({"Running"}),
        "before": KEPT,
        "after": KEPT,
        "redriven": 3,
        **changes,
    }
    return judge(
        PipelinesEvidence(
            hit="orders",
            other="audit",
            circuits=CIRCUITS,
            ledgers={
                "orders": [("key-0", hit or [])],
                "audit": [("key-0", entries() if other is None else other)],
            },
            **values,
        )
    )
