"""Breaks the lines of guarantees in a copy of the project, and runs their tests."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from scripts.guarantees.table import Line, Row, files_of_tests

SECONDS = 300.0
"""Time limit of one guarantee's tests; tests that hang because their line is broken have failed."""
GRACE_SECONDS = 20.0
"""Time in which pytest must end after it was asked to."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The tests that did not pass, as `file::name`.

    Attributes:
        failed: the tests that ran and failed, or hung.
        not_run: the tests that did not run: an import or a fixture failed, or pytest crashed.
    """

    failed: frozenset[str] = frozenset()
    not_run: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of breaking one guarantee; tests are `file::name`.

    Attributes:
        row: the guarantee.
        survivors: the tests that passed although each line of the guarantee was broken in turn.
        harmless: the lines without which all tests passed.
        not_run: each test that did not run with a broken line, and the line. Such a test says
            nothing about the guarantee, because the broken code cannot run either.
    """

    row: Row
    survivors: tuple[str, ...]
    harmless: tuple[Line, ...]
    not_run: tuple[tuple[str, Line], ...]

    @property
    def holds(self) -> bool:
        """Return whether each test needs one of the lines, and each line one of the tests."""
        return not self.survivors and not self.harmless and not self.not_run


@contextmanager
def copied(root: Path) -> Iterator[Path]:
    """Yield a copy of the files that git knows; it uses the installed packages of the original."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    with TemporaryDirectory(prefix="guarantees-") as place:
        copy = Path(place) / "copy"
        for name in listed:
            if (root / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, copy / name)
        for name in ("node_modules", ".wheels"):
            if (root / name).exists():
                (copy / name).symlink_to((root / name).resolve())
        yield copy


def run(copy: Path, names: Sequence[str], seconds: float = SECONDS) -> Outcome:
    """Run tests in the copy, in each file that defines them.

    If the run takes too long, all its tests have failed.
    """
    tests = _tests(copy, names)
    files = sorted({test.partition("::")[0] for test in tests})
    report = copy.parent / "report.xml"
    report.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"),
        *("--continue-on-collection-errors", "-m", "long or not long", "-k", " or ".join(names)),
        *(f"--junitxml={report}", *files),
    ]
    if not _ends_in_time(command, copy, seconds):
        return Outcome(failed=frozenset(tests))
    results = _results(report, files)
    failed = {test for test in tests if Result.FAILED in results[test]}
    passed = {
        test
        for test in tests
        if Result.PASSED in results[test] and Result.ERROR not in results[test]
    }
    return Outcome(frozenset(failed), frozenset(tests) - failed - passed)


def _tests(copy: Path, names: Sequence[str]) -> list[str]:
    places = files_of_tests(copy)
    return [f"{file}::{name}" for name in names for file in places.get(name, ())]


class Result(Enum):
    """The result of one case of a test."""

    PASSED = auto()
    FAILED = auto()
    SKIPPED = auto()
    ERROR = auto()


def _results(report: Path, files: Sequence[str]) -> Mapping[str, set[Result]]:
    """Return the results of the cases of each test, from pytest's report."""
    prefixes = {f"{file.removesuffix('.py').replace('/', '.')}.": file for file in files}
    results = defaultdict[str, set[Result]](set)
    if report.exists():
        for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it
            name, owner = case.get("name", "").partition("[")[0], f"{case.get('classname')}."
            for prefix, file in prefixes.items():
                if owner.startswith(prefix):
                    results[f"{file}::{name}"].add(_result(case))
    return results


def _result(case: ElementTree.Element) -> Result:
    if case.find("failure") is not None:
        return Result.FAILED
    if (error := case.find("error")) is not None:
        after = error.get("message", "").startswith("failed on teardown")
        return Result.FAILED if after else Result.ERROR
    return Result.PASSED if case.find("skipped") is None else Result.SKIPPED


def _ends_in_time(command: Sequence[str], folder: Path, seconds: float) -> bool:
    """Run pytest; after the time limit it is asked to end, so that it stops its services."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, stdout=quiet, stderr=quiet) as running:  # noqa: S603
        try:
            running.wait(seconds)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGINT)
            try:
                running.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                running.kill()
            return False
        return True


def broken(copy: Path, row: Row) -> Finding:
    """Break each line of a guarantee in turn, run its tests, and repair the line."""
    survivors, harmless = set(_tests(copy, row.tests)), []
    not_run: list[tuple[str, Line]] = []
    for line in row.lines:
        path = copy / line.file
        whole = path.read_text("utf-8")
        path.write_text(whole.replace(line.code, line.broken), "utf-8")
        try:
            outcome = run(copy, row.tests)
        finally:
            path.write_text(whole, "utf-8")
        if not outcome.failed and not outcome.not_run:
            harmless.append(line)
        survivors -= outcome.failed | outcome.not_run
        not_run += ((test, line) for test in sorted(outcome.not_run))
    return Finding(row, tuple(sorted(survivors)), tuple(harmless), tuple(not_run))
