"""docs/guarantees.md and the commands that check and break its guarantees."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts.guarantees.breaking import broken, copied, failing
from scripts.guarantees.table import COLUMNS, Line, problems, read

ROOT = Path(__file__).parents[3]
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
GOOD = "| loss | waits | all | none | none | `test_adds` | `sums.py`: `one + two` → `one - two` |\n"
TESTS = """\
from sums import add

def test_adds():
    assert add(1, 1) == 2

def test_adds_nothing():
    assert add(1, 0) == 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_sums.py").write_text(TESTS)
    (tmp_path / "sums.py").write_text("def add(one, two):\n    return one + two\n")
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)  # noqa: S607
    return tmp_path


def test_page_names_tests_and_lines_that_exist() -> None:
    """A renamed test would leave a promise that nothing holds."""
    assert problems((ROOT / "docs" / "guarantees.md").read_text(), ROOT) == []


def test_row_is_read_with_its_tests_and_lines() -> None:
    rows, found = read(HEAD + GOOD.replace("one + two", r"one \| two"))
    assert found == []
    assert rows[0].tests == ("test_adds",)
    assert rows[0].lines == (Line("sums.py", "one | two", "one - two"),)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("`test_adds`", "`test_lost`", "line 3: the test test_lost does not exist"),
        ("`test_adds`", "none", "line 3: names no test"),
        ("sums.py", "gone.py", "line 3: the file gone.py does not exist"),
        ("one + two`", "one * two`", "line 3: sums.py has 'one * two' 0 times"),
        ("one + two`", "two`", "line 3: sums.py has 'two' 2 times"),
        ("→", "", "line 3: names no line that it breaks with"),
        ("| all ", "", "line 3: 6 columns; a guarantee has 7"),
    ],
)
def test_wrong_row_is_named(project: Path, old: str, new: str, problem: str) -> None:
    found = problems(HEAD + GOOD.replace(old, new), project)
    assert any(each.startswith(problem) for each in found), found


def test_rows_that_nobody_could_try_need_no_test(project: Path) -> None:
    page = HEAD + GOOD * 40 + "\n## Not known\n\n| what | why |\n|---|---|\n| a | b |\n"
    assert problems(page, project) == []


def test_broken_lines_that_tests_notice_and_that_they_do_not(project: Path) -> None:
    both = GOOD.replace("`test_adds`", "`test_adds`, `test_adds_nothing`")
    page = HEAD + both.replace(" |\n", "; `sums.py`: `one + two` → `two + one` |\n")
    with copied(project) as copy:
        finding = broken(copy, read(page)[0][0])
        assert not finding.holds
        assert finding.survivors == ("test_adds_nothing",)
        assert [line.broken for line in finding.harmless] == ["two + one"]
        assert broken(copy, read(HEAD + GOOD)[0][0]).holds, "the lines are repaired"
        (copy / "sums.py").write_text("def add(:\n")
        assert failing(copy, ["test_adds"]) == {"test_adds"}, "a test that did not run has failed"
