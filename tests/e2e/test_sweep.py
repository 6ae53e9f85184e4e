"""`python -m loadtest chaos-sweep`: many runs, one table, one exit code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.target.stack import PROJECT, processes_naming
from tests.support.processes import wait_for

SWEEP = (sys.executable, "-m", "loadtest", "chaos-sweep", "--seeds", "1-2", "--scenarios", "all")


@pytest.mark.long
def test_a_sweep_without_a_verdict_fails_and_names_each_run(tmp_path: Path) -> None:
    """An app that cannot start: each seed has its row, its log and the command that repeats it."""
    app, reports = tmp_path / "app", tmp_path / "reports"
    app.mkdir()
    (app / "function_app.py").write_text("raise RuntimeError('no app today')\n")
    (app / "host.json").write_text('{"version": "2.0"}\n')
    line = ("--jobs", "2", "--events", "1000", "--app", str(app), "--reports", str(reports))
    finished = subprocess.run(
        [*SWEEP, *line],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "0 of 2 kept every promise" in finished.stdout
    assert "loadtest run --faults --scenario seed --seed 2 --events 1000 " in finished.stdout
    rows = json.loads((reports / "sweep.json").read_text())
    assert [(row["seed"], row["scenario"]) for row in rows] == [
        (1, "outage"),
        (2, "seed"),
    ]
    for row in rows:
        assert (row["passed"], row["lost"]) == (False, None)
        assert "`local host` exited with code 1" in row["broken"][0]
        assert "starting the stack" in (reports / f"seed-{row['seed']}.log").read_text()
    assert processes_naming(tmp_path) == set()


@pytest.mark.long
def test_an_interrupted_sweep_stops_its_runs(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*SWEEP, "--jobs", "2", "--events", "9000", "--reports", str(tmp_path)],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            wait_for(lambda: len(processes_naming(tmp_path)) >= 2, "the start of two stacks")
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=90)
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "0 of 2 kept every promise" in output
    assert processes_naming(tmp_path) == set()
