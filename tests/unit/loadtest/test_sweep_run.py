"""A sweep of runs with an error: what is recorded, and what ends the sweep."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from rich.console import Console

from loadtest.errors import StackError, UsageError
from loadtest.observe.display import Display
from loadtest.plan.settings import Scenario, Settings
from loadtest.report.report import Report
from loadtest.sweep import Sweep
from loadtest.sweep_run import run_sweep


def sweep_in(directory: Path) -> Sweep:
    return Sweep((1, 2), (Scenario.STEADY,), directory, 2, {"events": 1_000})


@pytest.mark.parametrize(
    ("error", "recorded"),
    [
        (StackError("no Redis\nlog of Redis"), "no Redis"),
        (KeyError("at_us"), "KeyError: 'at_us'"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (ValueError(), "ValueError"),
    ],
)
def test_run_that_ends_with_an_error_is_recorded_as_broken(
    tmp_path: Path, error: Exception, recorded: str
) -> None:
    """The other runs continue, and the sweep ends with its table."""
    started = []

    async def run(settings: Settings, display: Display) -> Report:
        started.append(settings.seed)
        raise error

    console = Console(record=True, quiet=True, width=200)
    assert run_sweep(sweep_in(tmp_path), console, run=run) == 1
    assert sorted(started) == [1, 2]
    rows = json.loads((tmp_path / "sweep.json").read_text())
    assert [(row["seed"], row["passed"]) for row in rows] == [(1, False), (2, False)]
    assert all(row["broken"][0].startswith(recorded) for row in rows)


def test_invalid_option_that_a_run_finds_ends_the_sweep(tmp_path: Path) -> None:
    """Each other run would find the same; a run in progress is stopped, not abandoned."""
    stopped = []

    async def run(settings: Settings, display: Display) -> Report:
        if settings.seed == 1:
            await asyncio.sleep(0)
            raise UsageError("the app setting BREAKER_FAILURE_THRESHOLD='many' is invalid")
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(settings.seed)
        raise AssertionError

    with pytest.raises(UsageError, match="'many' is invalid"):
        run_sweep(sweep_in(tmp_path), Console(quiet=True), run=run)
    assert stopped == [2]
