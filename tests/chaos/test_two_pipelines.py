"""Faults of one of two pipelines never touch the other, with real hosts and services."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.plan.two_pipelines import draw_two_pipelines
from tests.support.loadtest.runs import run

APPS = Path(__file__).parent / "apps"
SEED, EVENTS = 7, 3_000
"""A seed with an isolation, an outage, and a kill in the outage."""
ISOLATING_SEED = 16
"""A seed with one host, and an isolation before all faults."""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_outage_approval_and_redrive_of_one_pipeline_leave_the_other_alone(tmp_path: Path) -> None:
    finished = run(tmp_path, f"--scenario two-pipelines --seed {SEED}", patience_seconds=240)
    report = finished.report
    assert report["broken"] == [], finished.output
    assert finished.code == 0
    plan = draw_two_pipelines(SEED, EVENTS)
    assert (report["hit"], report["kills"]) == (plan.hit, plan.kills)
    assert plan.isolates
    assert plan.kills
    [other] = (part for name, part in report["pipelines"].items() if name != plan.hit)
    hit = report["pipelines"][plan.hit]
    assert (hit["circuit"]["opened"], other["circuit"]["opened"]) == (1, 0)
    assert hit["handled"] == EVENTS, "the poisoned events were replayed, and what was behind them"
    assert other["poisoned"] > 0, "and those of the other pipeline were not"
    assert report["redriven"] > 0
    assert report["while_held"] > 0
    assert report["held"] == 0


@pytest.mark.long
@pytest.mark.timeout(300)
def test_pipeline_that_waits_for_the_other_is_found(tmp_path: Path) -> None:
    """The judge does not need a clock for it: the operator waits for the other pipeline."""
    line = (
        f"--scenario two-pipelines --seed {ISOLATING_SEED} --app {APPS / 'one_batch'} "
        "--set PROCESSING_HOLD_SECONDS=120"
    )
    finished = run(tmp_path, line, patience_seconds=240)
    assert finished.code == 1
    assert any("stood still while" in line for line in finished.report["broken"])
