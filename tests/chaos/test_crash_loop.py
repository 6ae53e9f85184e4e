"""Processes that die again and again, with real hosts and services."""

from __future__ import annotations

import dataclasses
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from loadtest.observe.display import Display
from loadtest.plan.chaos import FaultKind, PlannedFault
from loadtest.plan.chaos_settings import chaos_settings
from loadtest.plan.settings import Scenario
from loadtest.runner import run as run_once
from tests.support.loadtest.runs import assert_kept, run

DEPLOYS = 6
DEPLOY_SECONDS = 6.0
"""The time between two deployments, in which a new process takes the partitions over."""


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("instances", "seed"), [(1, 7), (3, 1)])
def test_event_that_kills_its_process_is_poisoned_after_five_deaths(
    tmp_path: Path, instances: int, seed: int
) -> None:
    """Slow and hanging events of other partitions, in flight at the same deaths, are handled."""
    line = f"--scenario crash-loop --seed {seed} --instances {instances} --no-console"
    finished = run(tmp_path, line, patience_seconds=200)
    assert_kept(finished, sent=1_500, poisoned=1)
    assert finished.report["deaths"] <= 5
    assert finished.report["circuit"]["opened"] == 0


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_six_deployments_with_sigkill_poison_nothing(tmp_path: Path) -> None:
    """Each process dies while slow and hanging events are in flight."""
    settings = chaos_settings(
        {
            "scenario": Scenario.CRASH_LOOP,
            "seed": 1,
            "instances": 1,
            "events": 2_400,
            "console": False,
            "report": tmp_path / "report.json",
        }
    )
    assert settings.chaos is not None
    kills = tuple(
        PlannedFault(FaultKind.HOST_KILLED, 50, delay_seconds=DEPLOY_SECONDS * number)
        for number in range(DEPLOYS)
    )
    plan = dataclasses.replace(settings.chaos, deadly="", faults=kills, hang_every=200)
    text = StringIO()
    with Display(Console(file=text), settings.events) as display:
        report = await run_once(dataclasses.replace(settings, chaos=plan), display)
    assert report.verdict.broken == (), text.getvalue()
    assert (report.kills, report.verdict.poisoned) == (DEPLOYS, 0)
    assert report.verdict.handled == settings.events
