"""The command `python -m benchmarks compare BASE.json NEW.json`, which finds worse figures.

A figure is the value of a goal, such as a ratio to a peer or bound of the same run, or a count. A
figure fails if it is more than 5 % worse than in the base, or if it misses a goal that the base
met. Medians are printed with their changes, but cannot fail. They are absolute times, which differ
between runs on the same machine, and some of them belong to peers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.machine import BUSY_CORES
from breaker.configuration.command_line import (
    DONE,
    EXIT_CODES,
    FAILED,
    WRONG_ARGUMENT,
    exit_codes,
    say_error,
)

TOLERANCE = 0.05
_RENAMED = {"FANOUT": "P8"}
"""The name of each benchmark that earlier versions wrote under another name."""
_REPLACED = {
    ("P1", "breakwater, per event"),
    ("P6", "p99 ÷ the limit of 20 ms"),
    ("P8", "worst p99 of the delay ÷ the limit of a second"),
}
"""The measures of earlier versions that later versions do not take, with their benchmarks."""


class ComparisonError(Exception):
    """A file that cannot be compared; the message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in both runs.

    Attributes:
        benchmark: the name of the benchmark, such as "P1".
        what: the name of the measure; "" for the whole benchmark.
        base: the value in the base, or None if it was not measured.
        new: the value in the new run, or None if it was not measured.
        worse_by: the change for the worse as a share of the base; negative for an improvement.
        goal: the goal of the new run as text.
        holds: whether the new run meets the goal.
        fault: why the comparison fails, or "".
        note: why there is nothing to compare, or "".
    """

    benchmark: str
    what: str
    base: float | None
    new: float | None
    worse_by: float = 0.0
    goal: str = ""
    holds: bool = True
    fault: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        """The verdict as text."""
        return self.fault or self.note or ("passes" if self.holds else "passes, misses its goal")


def read(file: Path) -> dict[str, Any]:
    """Read the results that `--json` wrote, with the present names of all benchmarks.

    Raises:
        ComparisonError: the file cannot be read or has a different format.
    """
    try:
        results: Any = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ComparisonError(f"{file}: {error}") from error
    if not isinstance(results, dict) or not all(
        isinstance(each, dict) and "holds" in each for each in results.values()
    ):
        raise ComparisonError(f"{file} has no results of `breakwater bench --json`")
    return {_RENAMED.get(str(name), str(name)): each for name, each in results.items()}


def compare(
    base: Mapping[str, Any], new: Mapping[str, Any], tolerance: float = TOLERANCE
) -> list[Change]:
    """Compare the figures of every benchmark that both runs measured.

    Args:
        base: results by benchmark, as `--json` writes them.
        new: results of a later run, which may include fewer or more benchmarks.
        tolerance: how much worse a figure may become, as a share.

    Raises:
        ComparisonError: exactly one of the runs was quick, or the runs share no benchmark.
    """
    shared = [name for name in base if name in new]
    if not shared:
        raise ComparisonError("the two runs have no benchmark in common")
    changes: list[Change] = []
    for name in shared:
        failed = "error" in base[name] or "error" in new[name]
        if not failed and _is_quick(base[name]) != _is_quick(new[name]):
            raise ComparisonError(f"{name}: a quick run cannot be compared with a full one")
        changes += _changes(name, base[name], new[name], tolerance)
    return changes


def _changes(
    name: str, base: Mapping[str, Any], new: Mapping[str, Any], tolerance: float
) -> Iterator[Change]:
    if "error" in new:
        fault = "" if "error" in base else f"the benchmark failed: {new['error']}"
        yield Change(name, "", None, None, fault=fault)
        return
    before, after = _by_measure(base), _by_measure(new)
    for what, goals in after.items():
        old = before.get(what)
        value, goal = goals[0]["value"], " and ".join(each["goal"] for each in goals)
        holds = all(each["holds"] for each in goals)
        if old is None:
            yield Change(name, what, None, value, goal=goal, holds=holds)
            continue
        worse_by = _worse_by(old[0]["value"], value, goals)
        held = all(each["holds"] for each in old)
        fault = ""
        if held and not holds:
            fault = "the goal was met in the base and is missed now"
        elif worse_by > tolerance:
            fault = f"{worse_by:.1%} worse"
        yield Change(name, what, old[0]["value"], value, worse_by, goal, holds, fault)
    for what, old in before.items():
        if what not in after:
            must_remain = all(each["holds"] for each in old) and (name, what) not in _REPLACED
            fault = "the goal was met in the base and is not measured now" if must_remain else ""
            yield Change(name, what, old[0]["value"], None, fault=fault, note="no counterpart")


def _by_measure(result: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the goals by measure; a measure has one limit, or two with one on each side."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for check in result.get("checks", ()):
        found.setdefault(check["what"], []).append(check)
    return found


def _worse_by(base: float, new: float, goals: Sequence[Mapping[str, Any]]) -> float:
    """Return the change for the worse as a share of the base.

    A measure with one limit becomes worse towards the limit. A measure with two limits, or with an
    exact goal, becomes worse as its distance to the middle of the limits grows.
    """
    relations = {str(each["goal"])[:1] for each in goals}
    if relations == {"≤"}:
        return (new - base) / (abs(base) or 1.0)
    if relations == {"≥"}:
        return (base - new) / (abs(base) or 1.0)
    limits = [float(each["limit"]) for each in goals]
    middle = sum(limits) / len(limits)
    return (abs(new - middle) - abs(base - middle)) / (abs(middle) or 1.0)


def _is_quick(result: Mapping[str, Any]) -> bool:
    return bool(result.get("details", {}).get("quick", False))


def disturbed(results: Mapping[str, Any]) -> list[str]:
    """Return the benchmarks during which other programs used BUSY_CORES cores or more."""
    return [
        name
        for name, each in results.items()
        if each.get("details", {}).get("cores_used_by_others", 0.0) >= BUSY_CORES
    ]


@click.command("compare", epilog=EXIT_CODES)
@click.argument("base", type=Path, metavar="BASE.json")
@click.argument("new", type=Path, metavar="NEW.json")
@click.option(
    "--tolerance",
    type=float,
    default=TOLERANCE * 100,
    show_default=True,
    metavar="PERCENT",
    help="How much worse a figure may be, in percent.",
)
@exit_codes({ComparisonError: WRONG_ARGUMENT})
def command(*, base: Path, new: Path, tolerance: float) -> int:
    """Compare the results of an earlier and a later run.

    The command fails if a figure is worse or misses a goal that the base met.
    """
    console = Console()
    before, after = read(base), read(new)
    changes = compare(before, after, tolerance / 100)
    show(changes, console)
    _show_medians(before, after, console)
    for file, results in ((base, before), (new, after)):
        if names := disturbed(results):
            console.print(
                f"{file}: other programs used the machine during {', '.join(names)}",
                style="yellow",
                markup=False,
                highlight=False,
            )
    if missing := [name for name in before if name not in after]:
        console.print(f"not in {new}: {', '.join(missing)}", markup=False, highlight=False)
    faults = [change for change in changes if change.fault]
    for change in faults:
        say_error(f"{' '.join(filter(None, (change.benchmark, change.what)))}: {change.fault}")
    return FAILED if faults else DONE


def show(changes: Sequence[Change], console: Console) -> None:
    """Print a table of the figures and their changes."""
    table = Table(title="Figures", title_justify="left")
    for heading in ("", "measure", "base", "new", "change", "goal", "verdict"):
        numeric = heading in {"base", "new", "change"}
        table.add_column(heading, justify="right" if numeric else "left")
    last = ""
    for change in changes:
        if last not in {"", change.benchmark}:
            table.add_section()
        table.add_row(
            "" if change.benchmark == last else change.benchmark,
            change.what,
            _number(change.base),
            _number(change.new),
            _share(change.base, change.new),
            change.goal,
            Text(change.verdict, style=_style(change)),
        )
        last = change.benchmark
    console.print(table)


def _show_medians(base: Mapping[str, Any], new: Mapping[str, Any], console: Console) -> None:
    table = Table(title="Medians (for information)", title_justify="left")
    for heading in ("", "measure", "base", "new", "change"):
        table.add_column(heading, justify="left" if heading in {"", "measure"} else "right")
    for name, result in new.items():
        before = base.get(name, {}).get("medians", {})
        shared = {what: value for what, value in result["medians"].items() if what in before}
        for number, (what, value) in enumerate(shared.items()):
            old = before[what]
            heading = name if number == 0 else ""
            table.add_row(heading, what, _number(old), _number(value), _share(old, value))
        table.add_section()
    console.print(table)


def _style(change: Change) -> str:
    if change.fault:
        return "red"
    if change.note:
        return ""
    return "green" if change.holds else "yellow"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _share(base: float | None, new: float | None) -> str:
    return f"{(new - base) / base:+.1%}" if base and new is not None else ""
