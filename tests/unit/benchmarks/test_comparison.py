"""`python -m benchmarks compare` fails only for worse figures and lost goals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command_line
from benchmarks.comparison import Change, ComparisonError, compare, read
from benchmarks.result import Broken, Check, Relation, Result, write_json

MISSED = "the goal was met in the base and is missed now"


def results(*checks: Check, name: str = "P1", **details: Any) -> dict[str, Any]:
    found = Result(name, "a title", checks, {"ours_us": 5.0}, details)
    return {name: json.loads(json.dumps(found.to_json()))}


def only(changes: list[Change]) -> Change:
    (change,) = changes
    return change


@pytest.mark.parametrize(
    ("relation", "limit", "base", "new", "fault"),
    [
        ("≥", 20, 30, 28.6, ""),
        ("≥", 20, 30, 28.4, "5.3% worse"),
        ("≥", 20, 30, 40, ""),
        ("≤", 1.4, 1.2, 1.25, ""),
        ("≤", 1.4, 1.2, 1.27, "5.8% worse"),
        ("≤", 1.4, 1.2, 0.6, ""),
        ("≤", 1.4, 1.39, 1.41, MISSED),
        ("≤", 1.4, 1.6, 1.65, ""),
        ("≤", 1.4, 1.6, 1.7, "6.2% worse"),
        ("=", 0, 0, 0, ""),
        ("=", 0, 0, 1, MISSED),
        ("=", 0, 3, 4, "100.0% worse"),
        ("=", 0, 3, 2, ""),
        ("=", 1, 1, 1, ""),
    ],
)
def test_figure_fails_if_it_is_worse_or_misses_its_goal(
    relation: Relation, limit: float, base: float, new: float, fault: str
) -> None:
    change = only(
        compare(
            results(Check("it", base, relation, limit)), results(Check("it", new, relation, limit))
        )
    )
    assert (change.base, change.new) == (base, new)
    assert change.fault == fault


@pytest.mark.parametrize(
    ("base", "new", "fault"),
    [
        (1.0, 1.04, ""),
        (1.0, 0.96, ""),
        (0.94, 1.04, ""),
        (1.0, 1.06, "6.0% worse"),
        (1.0, 0.94, "6.0% worse"),
        (1.08, 1.11, MISSED),
        (1.08, 0.89, MISSED),
    ],
)
def test_figure_with_two_limits_is_worse_with_its_distance_to_the_middle(
    base: float, new: float, fault: str
) -> None:
    def band(value: float) -> dict[str, Any]:
        return results(Check("it", value, "≤", 1.1, "x"), Check("it", value, "≥", 0.9, "x"))

    assert only(compare(band(base), band(new))).fault == fault


@pytest.mark.parametrize(
    ("new", "verdict"),
    [(21, "passes"), (19.5, "passes, misses its goal"), (15, "21.1% worse")],
)
def test_goal_missed_in_both_runs_is_shown_as_missed(new: float, verdict: str) -> None:
    base = results(Check("it", 19, "≥", 20))
    assert only(compare(base, results(Check("it", new, "≥", 20)))).verdict == verdict


def test_tolerance_is_an_argument() -> None:
    base, new = results(Check("it", 10, "≤", 20)), results(Check("it", 11, "≤", 20))
    assert only(compare(base, new)).fault
    assert not only(compare(base, new, 0.15)).fault


def test_tighter_goal_is_judged_by_the_new_run() -> None:
    base, new = results(Check("it", 22, "≥", 20)), results(Check("it", 22, "≥", 27))
    assert only(compare(base, new)).fault == MISSED


def test_goal_met_in_the_base_must_be_measured() -> None:
    base = results(Check("it", 1, "≤", 2), Check("gone", 1, "≤", 2), Check("missed", 3, "≤", 2))
    new = results(Check("it", 1, "≤", 2), Check("added", 9, "≤", 2))
    faults = {change.what: change.fault for change in compare(base, new)}
    assert faults == {
        "it": "",
        "added": "",
        "gone": "the goal was met in the base and is not measured now",
        "missed": "",
    }


@pytest.mark.parametrize(
    ("benchmark", "what"),
    [
        ("P1", "breakwater, per event"),
        ("P6", "p99 ÷ the limit of 20 ms"),
        ("P8", "worst p99 of the delay ÷ the limit of a second"),
    ],
)
def test_measure_of_an_old_base_that_was_replaced_has_no_counterpart(
    benchmark: str, what: str
) -> None:
    base = results(Check(what, 1, "≤", 2), name=benchmark)
    new = results(Check("the new measure", 3, "≤", 2), name=benchmark)
    added, replaced = compare(base, new)
    assert (added.what, added.verdict) == ("the new measure", "passes, misses its goal")
    assert (replaced.what, replaced.fault, replaced.verdict) == (what, "", "no counterpart")


def test_renamed_benchmark_is_compared_under_its_new_name(tmp_path: Path) -> None:
    file = tmp_path / "base.json"
    file.write_text(json.dumps(results(Check("it", 1, "≤", 2), name="FANOUT")))
    assert list(read(file)) == ["P8"]


def test_failed_benchmark_fails_unless_it_failed_in_the_base() -> None:
    broken = {"P1": Broken("OSError: gone [1]").to_json()}
    change = only(compare(results(Check("it", 1, "≤", 2)), broken))
    assert change.fault == "the benchmark failed: OSError: gone [1]"
    assert only(compare(broken, broken)).fault == ""
    assert only(compare(broken, results(Check("it", 1, "≤", 2)))).fault == ""


def test_benchmark_in_only_one_run_is_left_out() -> None:
    base = results(Check("it", 1, "≤", 2)) | results(Check("it", 1, "≤", 2), name="P2")
    new = results(Check("it", 1, "≤", 2), name="P2") | results(Check("it", 9, "≤", 2), name="P3")
    assert [change.benchmark for change in compare(base, new)] == ["P2"]
    with pytest.raises(ComparisonError, match="no benchmark in common"):
        compare(results(Check("it", 1, "≤", 2)), results(Check("it", 1, "≤", 2), name="P3"))


def test_quick_run_is_not_compared_with_a_full_one() -> None:
    check = Check("it", 1, "≤", 2)
    with pytest.raises(ComparisonError, match="P1: a quick run"):
        compare(results(check, quick=False), results(check, quick=True))
    assert compare(results(check, quick=True), results(check, quick=True))
    assert compare(results(check), results(check, quick=False))


def test_failed_quick_benchmark_is_compared_with_a_quick_one() -> None:
    """A failed benchmark has no details that say whether the run was quick."""
    quick = results(Check("it", 1, "≤", 2), quick=True)
    broken = {"P1": Broken("OSError: gone").to_json()}
    assert only(compare(quick, broken)).fault == "the benchmark failed: OSError: gone"
    assert only(compare(broken, quick)).fault == ""


@pytest.mark.parametrize("text", ["", "[]", '{"P1": 3}', '{"P1": {"goal": 3}}'])
def test_invalid_file_is_an_error_with_its_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(ComparisonError, match=r"other\.json"):
        read(file)


def written(file: Path, value: float, **details: Any) -> str:
    check = Check("peer ÷ ours", value, "≥", 20, "x")
    write_json({"P1": Result("P1", "a title", (check,), {"ours_us": 5.0}, details)}, file)
    return str(file)


def test_command_fails_only_if_a_figure_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    base = written(tmp_path / "base.json", 30)
    same = written(tmp_path / "same.json", 29.5, cores_used_by_others=1.0)
    worse = written(tmp_path / "worse.json", 25)
    assert command_line.main(["compare", base, same]) == 0
    printed = capsys.readouterr()
    assert "-1.7%" in printed.out
    assert "same.json: other programs used the machine during P1" in printed.out.replace("\n", "")
    assert command_line.main(["compare", base, worse]) == 1
    assert "P1 peer ÷ ours: 16.7% worse" in capsys.readouterr().err
    assert command_line.main(["compare", base, worse, "--tolerance", "20"]) == 0
    assert command_line.main(["compare", base, str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err.replace("\n", "")
