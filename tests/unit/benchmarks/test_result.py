"""The JSON and the table of results show met and missed goals."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.result import Broken, Check, Relation, Result, rounded, show, write_json

FAST = Check("peer ÷ ours", 23.4567, "≥", 20, "x")
SLOW = Check("ours, per event", 12.0, "≤", 10, "µs")


def result(*checks: Check) -> Result:
    return Result("P1", "a title", checks, {"ours_us": 12.00004, "peer_us": 281.0}, {"rounds": 3})


@pytest.mark.parametrize(
    ("value", "relation", "limit", "holds"),
    [
        (20, "≥", 20, True),
        (19.99, "≥", 20, False),
        (1.5, "≤", 1.5, True),
        (1.5001, "≤", 1.5, False),
        (0, "=", 0, True),
        (0.001, "=", 0, False),
    ],
)
def test_goal_is_met_up_to_its_limit(
    value: float, relation: Relation, limit: float, holds: bool
) -> None:
    assert Check("it", value, relation, limit).holds is holds


def test_missed_goal_has_its_distance() -> None:
    assert SLOW.missed_by == pytest.approx(0.2)
    assert FAST.missed_by == 0
    assert Check("lost", 3, "=", 0, "events").missed_by == 3


def test_result_holds_only_if_all_goals_are_met() -> None:
    assert result(FAST).holds
    assert not result(FAST, SLOW).holds


def test_json_has_the_headline_and_every_goal() -> None:
    assert result(FAST, SLOW).to_json() == {
        "holds": False,
        "ratio": 23.46,
        "goal": 20,
        "medians": {"ours_us": 12.0, "peer_us": 281.0},
        "title": "a title",
        "checks": [
            {
                "what": "peer ÷ ours",
                "value": 23.46,
                "goal": "≥ 20 x",
                "limit": 20,
                "unit": "x",
                "holds": True,
            },
            {
                "what": "ours, per event",
                "value": 12.0,
                "goal": "≤ 10 µs",
                "limit": 10,
                "unit": "µs",
                "holds": False,
            },
        ],
        "details": {"rounds": 3},
    }


def test_goal_is_judged_before_it_is_rounded() -> None:
    written = result(Check("it", 1.50001, "≤", 1.5)).to_json()
    assert (written["ratio"], written["holds"]) == (1.5, False)


def test_rounding_includes_containers_and_keeps_integers() -> None:
    assert rounded({"a": [1.23456, 123456], "b": ("x", 0.000123456)}) == {
        "a": [1.235, 123456],
        "b": ["x", 0.0001235],
    }


def test_file_has_results_by_name_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    file = tmp_path / "made" / "benchmarks.json"
    write_json({"P1": result(FAST), "P2": Broken("OSError: no")}, file)
    written = json.loads(file.read_text())
    assert list(written) == ["P1", "P2"]
    assert written["P1"]["holds"] is True
    assert written["P2"] == {
        "holds": False,
        "ratio": None,
        "goal": None,
        "medians": {},
        "error": "OSError: no",
    }
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_table_shows_every_goal_and_missed_ones_with_their_distance() -> None:
    output = io.StringIO()
    results: dict[str, Result | Broken] = {
        "P1": result(FAST, SLOW),
        "P2": Broken("ChildError: gone [1]"),
    }
    show(results, Console(file=output, width=140))
    text = output.getvalue()
    assert "missed by 20%" in text
    assert "≥ 20 x" in text
    assert "ChildError: gone [1]" in text
    assert "peer_us" in text
