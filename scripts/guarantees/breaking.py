"""Breaks the lines of guarantees in a copy of the project, and runs their tests."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from scripts.guarantees.table import Line, Row, files_of_tests

SECONDS = 300.0
"""Time limit of one guarantee's tests; a test that hangs because its line is broken has failed."""
GRACE_SECONDS = 20.0
"""Time in which pytest must end after it was asked to."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of breaking one guarantee.

    Attributes:
        row: the guarantee.
        survivors: the tests that passed although each line of the guarantee was broken in turn.
        harmless: the lines without which all tests passed.
    """

    row: Row
    survivors: tuple[str, ...]
    harmless: tuple[Line, ...]

    @property
    def holds(self) -> bool:
        """Return whether each test needs one of the lines, and each line one of the tests."""
        return not self.survivors and not self.harmless


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
        if (root / "node_modules").exists():
            (copy / "node_modules").symlink_to((root / "node_modules").resolve())
        yield copy


def failing(copy: Path, names: Sequence[str], seconds: float = SECONDS) -> set[str]:
    """Run tests in the copy, and return the names of those that did not pass.

    A test that did not run has failed: its file could not be imported, or the run took too long.
    """
    places: Mapping[str, Sequence[str]] = files_of_tests(copy)
    files = sorted({file for name in names for file in places.get(name, ())})
    report = copy.parent / "report.xml"
    report.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"),
        *("-m", "long or not long", "-k", " or ".join(names), f"--junitxml={report}", *files),
    ]
    if not _ends_in_time(command, copy, seconds):
        return set(names)
    ran, failed = set(), set()
    if report.exists():
        for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it
            name = case.get("name", "").partition("[")[0]
            ran.add(name)
            if case.find("failure") is not None or case.find("error") is not None:
                failed.add(name)
    return (set(names) - ran) | (failed & set(names))


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
    survivors, harmless = set(row.tests), []
    for line in row.lines:
        path = copy / line.file
        whole = path.read_text("utf-8")
        path.write_text(whole.replace(line.code, line.broken), "utf-8")
        try:
            failed = failing(copy, row.tests)
        finally:
            path.write_text(whole, "utf-8")
        if not failed:
            harmless.append(line)
        survivors -= failed
    return Finding(row, tuple(sorted(survivors)), tuple(harmless))
