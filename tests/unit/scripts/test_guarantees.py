"""docs/guarantees.md and the commands that check and break its guarantees."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts.guarantees.breaking import Outcome, broken, copied, run
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
        assert finding.survivors == ("tests/test_sums.py::test_adds_nothing",)
        assert [line.broken for line in finding.harmless] == ["two + one"]
        assert broken(copy, read(HEAD + GOOD)[0][0]).holds, "the lines are repaired"


FIXTURE = """\
import pytest
from sums import add

@pytest.fixture
def two():
    yield add(1, 1)
    assert add(1, 1) == {after}

def test_adds(two):
    assert two == {sum}
"""


@pytest.mark.long  # like the tests below it starts pytest
@pytest.mark.parametrize(
    "breaks",
    [
        pytest.param("def", id="the import fails"),
        pytest.param("raise", id="the setup fails"),
        pytest.param("import os; os._exit(1)", id="pytest crashes"),
        pytest.param("import pytest; pytest.skip()", id="the test is skipped"),
    ],
)
def test_test_that_did_not_run_has_noticed_nothing(project: Path, breaks: str) -> None:
    (project / "tests" / "test_sums.py").write_text(FIXTURE.format(sum=2, after=2))
    page = HEAD + GOOD.replace("`one + two` → `one - two`", f"`return one + two` → `{breaks}`")
    with copied(project) as copy:
        (row,) = read(page)[0]
        finding = broken(copy, row)
    assert not finding.holds
    assert finding.not_run == (("tests/test_sums.py::test_adds", row.lines[0]),)
    assert not finding.survivors
    assert not finding.harmless


@pytest.mark.long
def test_file_that_cannot_be_imported_does_not_stop_the_others(project: Path) -> None:
    (project / "tests" / "test_other.py").write_text("import nothing\n\ndef test_more(): pass\n")
    with copied(project) as copy:
        outcome = run(copy, ["test_adds", "test_more"])
    assert outcome == Outcome(not_run=frozenset({"tests/test_other.py::test_more"}))


@pytest.mark.long
def test_failure_after_the_test_is_a_failure(project: Path) -> None:
    """A fixture may check at its end what the test has left."""
    (project / "tests" / "test_sums.py").write_text(FIXTURE.format(sum=2, after=3))
    with copied(project) as copy:
        outcome = run(copy, ["test_adds"])
    assert outcome == Outcome(failed=frozenset({"tests/test_sums.py::test_adds"}))


@pytest.mark.long
def test_test_that_hangs_has_failed(project: Path) -> None:
    (project / "sums.py").write_text("def add(one, two):\n    while True: pass\n")
    with copied(project) as copy:
        outcome = run(copy, ["test_adds"], seconds=3)
    assert outcome == Outcome(failed=frozenset({"tests/test_sums.py::test_adds"}))


@pytest.mark.long
def test_test_with_one_name_in_two_files_must_fail_in_both(project: Path) -> None:
    (project / "tests" / "test_other.py").write_text("def test_adds(): pass\n")
    with copied(project) as copy:
        finding = broken(copy, read(HEAD + GOOD)[0][0])
    assert finding.survivors == ("tests/test_other.py::test_adds",)
