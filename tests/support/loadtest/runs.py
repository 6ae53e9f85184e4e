"""Helpers that run the load test by its command line."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.target.stack import processes_naming
from tests.support.forked import Forked

_RUN = (sys.executable, "-m", "loadtest", "run")


@dataclass(frozen=True)
class Finished:
    """The exit code, output and report of a run."""

    code: int
    output: str
    report: dict[str, Any]


def command(directory: Path, line: str) -> list[str]:
    """Return the command `python -m loadtest run …` with its report in the directory."""
    report = directory / "report.json"
    return [*_RUN, "--report", str(report), *line.split()]


def run(
    directory: Path, line: str, *, pictures: bool = False, patience_seconds: float = 110
) -> Finished:
    """Run to the end and assert that no process is left."""
    report = directory / "report.json"
    report.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary, "output")
        options = line if pictures else f"{line} --json-only"
        process = Forked(*command(directory, options)[2:], output=output)
        try:
            code = process.wait(patience_seconds)
        finally:
            process.send_signal(signal.SIGTERM)
        printed = output.read_text()
    assert processes_naming(directory) == set(), "a process was left"
    assert report.exists(), printed
    return Finished(code, printed, json.loads(report.read_text()))


def assert_kept(finished: Finished, *, sent: int, poisoned: int) -> None:
    """Assert that every event is accounted for once and in order, and that the exit code is 0."""
    report = finished.report
    assert report["broken"] == [], finished.output
    assert finished.code == 0, finished.output
    figures = ("sent", "handled", "poisoned", "lost", "duplicates", "order_violations")
    expected = (sent, sent - poisoned, poisoned, 0, 0, 0)
    assert tuple(report[name] for name in figures) == expected
