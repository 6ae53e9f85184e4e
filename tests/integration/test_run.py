"""The suite's own promises: what a run of the tests says, and which tests it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sides import side_of

ROOT = Path(__file__).parents[2]


def run_pytest(*arguments: str, **environment: str) -> str:
    """Run pytest and return what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.mark.long
def test_skipped_browser_tests_are_counted_in_one_line_that_names_the_package() -> None:
    output = run_pytest("tests/browser/test_operator.py", PATH="/nowhere")
    expected = (
        "7 browser tests skipped: no Chromium; "
        "install it with: apt-get install chromium-headless-shell"
    )
    assert [line for line in output.splitlines() if "Chromium" in line] == [expected]
    assert "7 skipped" in output.splitlines()[-1]


def test_each_test_belongs_to_exactly_one_side(request: pytest.FixtureRequest) -> None:
    """`make test-app` and `make test-local` select by these markers."""
    for item in request.session.items:
        sides = [mark.name for mark in item.iter_markers() if mark.name in {"app", "local"}]
        assert sides == [side_of(item.nodeid)], item.nodeid


@pytest.mark.parametrize(
    ("nodeid", "side"),
    [
        ("tests/unit/processing/batch/test_split.py::test_x", "app"),
        ("tests/contract/local/event_hubs/test_fuzz.py::test_x", "local"),
        ("tests/e2e/test_gate.py::test_x", "app"),
        ("tests/e2e/test_interruption.py::test_x", "local"),
    ],
)
def test_path_decides_the_side_of_a_test(nodeid: str, side: str) -> None:
    assert side_of(nodeid) == side


def test_unknown_path_stops_the_collection() -> None:
    with pytest.raises(pytest.UsageError, match="belongs neither to `make test-app` nor"):
        side_of("tests/unit/nowhere/test_x.py::test_x")
