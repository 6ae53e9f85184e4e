"""The result of a benchmark, with figures and goals, as JSON and as a table."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

type Relation = Literal["≤", "≥", "="]

_HOLDS = {"≤": operator.le, "≥": operator.ge, "=": operator.eq}
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Check:
    """One goal and its measured value.

    Attributes:
        what: the name of the measure.
        value: the measured value, unrounded.
        relation: the relation that the value must have to the limit.
        limit: the limit.
        unit: the unit of value and limit; "x" for a ratio.
    """

    what: str
    value: float
    relation: Relation
    limit: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Return whether the goal is met."""
        return bool(_HOLDS[self.relation](self.value, self.limit))

    @property
    def missed_by(self) -> float:
        """The distance to a missed goal as a share of the limit, or in the unit if that is 0."""
        return 0.0 if self.holds else abs(self.value - self.limit) / (abs(self.limit) or 1.0)

    @property
    def goal(self) -> str:
        """The goal as text."""
        return f"{self.relation} {self.limit:g}{_space(self.unit)}"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "what": self.what,
            "value": rounded(self.value),
            "goal": self.goal,
            "limit": self.limit,
            "unit": self.unit,
            "holds": self.holds,
        }


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one benchmark.

    Attributes:
        name: the benchmark's name, such as "P1".
        title: the subject of the measurement.
        checks: every goal; the first is the headline, which is `ratio` and `goal` in the JSON.
        medians: the measurements by name; the unit is in the name.
        details: further values that explain the figures.
    """

    name: str
    title: str
    checks: tuple[Check, ...]
    medians: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Return whether all goals are met."""
        return all(check.holds for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document, with numbers rounded to four significant digits."""
        headline = self.checks[0]
        return {
            "holds": self.holds,
            "ratio": rounded(headline.value),
            "goal": headline.limit,
            "medians": rounded(dict(self.medians)),
            "title": self.title,
            "checks": [check.to_json() for check in self.checks],
            "details": rounded(dict(self.details)),
        }


def rounded(value: Any) -> Any:
    """Round floats to four significant digits, also in containers; integers stay exact."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


@dataclass(frozen=True, slots=True)
class Broken:
    """The outcome of a benchmark that failed, whose goals count as missed."""

    error: str

    @property
    def holds(self) -> bool:
        """Return False, because no goal is met."""
        return False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {"holds": False, "ratio": None, "goal": None, "medians": {}, "error": self.error}


def write_json(results: Mapping[str, Result | Broken], file: Path) -> None:
    """Write `{"P1": {…}, …}` atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        {name: each.to_json() for name, each in results.items()}, indent=2, ensure_ascii=False
    )
    unfinished = file.with_name(file.name + ".part")
    unfinished.write_text(text + "\n", "utf-8")
    unfinished.replace(file)


def show(results: Mapping[str, Result | Broken], console: Console) -> None:
    """Print a table of goals and a table of medians."""
    goals = Table(title="Goals", title_justify="left")
    for heading in ("", "measure", "value", "goal", "holds"):
        goals.add_column(heading, justify="right" if heading == "value" else "left")
    for name, result in results.items():
        if isinstance(result, Broken):
            first_line = result.error.partition("\n")[0]
            goals.add_row(name, Text(first_line), "", "", "[red]failed")
            goals.add_section()
            continue
        for number, check in enumerate(result.checks):
            verdict = (
                "[green]yes" if check.holds else f"[red]missed by {_share(check.missed_by, check)}"
            )
            value = f"{check.value:.4g}{_space(check.unit)}"
            goals.add_row(name if number == 0 else "", check.what, value, check.goal, verdict)
        goals.add_section()
    console.print(goals)
    figures = Table(title="Medians", title_justify="left")
    for heading in ("", "measure", "median"):
        figures.add_column(heading, justify="right" if heading == "median" else "left")
    for name, result in results.items():
        if isinstance(result, Result):
            for number, (what, median) in enumerate(result.medians.items()):
                figures.add_row(name if number == 0 else "", what, f"{median:.4g}")
            figures.add_section()
    console.print(figures)


def _space(unit: str) -> str:
    return f" {unit}" if unit else ""


def _share(missed_by: float, check: Check) -> str:
    if not check.limit:
        return f"{missed_by:.4g}{_space(check.unit)}"
    return f"{missed_by:.0%}" if missed_by >= 0.01 else f"{missed_by:.1%}"
