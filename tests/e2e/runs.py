"""Running the load test as its users do: by command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.paths import PROJECT
from loadtest.stack import processes_naming


@dataclass(frozen=True)
class Finished:
    """A run that ended."""

    code: int
    output: str
    report: dict[str, Any]


def command(directory: Path, line: str) -> list[str]:
    """`python -m loadtest run …` with its report in the directory."""
    report = directory / "report.json"
    return [sys.executable, "-m", "loadtest", "run", "--report", str(report), *line.split()]


def run(directory: Path, line: str) -> Finished:
    """Run to the end; nothing of it stays behind."""
    report = directory / "report.json"
    report.unlink(missing_ok=True)
    process = subprocess.run(
        command(directory, line),
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )
    assert processes_naming(directory) == set(), "a process stayed behind"
    assert report.exists(), process.stdout
    return Finished(process.returncode, process.stdout, json.loads(report.read_text()))


def assert_kept(finished: Finished, *, sent: int, poisoned: int) -> None:
    """Everything is accounted for, once and in order, and the exit code says so."""
    report = finished.report
    assert report["broken"] == [], finished.output
    assert finished.code == 0, finished.output
    figures = ("sent", "handled", "poisoned", "lost", "duplicates", "order_violations")
    expected = (sent, sent - poisoned, poisoned, 0, 0, 0)
    assert tuple(report[name] for name in figures) == expected
