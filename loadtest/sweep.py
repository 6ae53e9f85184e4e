"""Many chaos runs, one seed after the other, and a table of what came of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from loadtest.errors import UsageError
from loadtest.plan.chaos import ChaosPlan
from loadtest.plan.chaos_settings import chaos_settings
from loadtest.plan.settings import Settings

MOST_SEEDS = 1000


@dataclass(frozen=True)
class Sweep:
    """Which seeds to run, with which options of a run, and where their reports go."""

    seeds: tuple[int, ...]
    directory: Path
    chosen: dict[str, Any]

    def __iter__(self) -> Iterator[Settings]:
        for seed in self.seeds:
            report = self.directory / f"seed-{seed}.json"
            yield chaos_settings({**self.chosen, "seed": seed, "report": report})


@dataclass(frozen=True)
class Outcome:
    """What came of one seed; `report` is the JSON document, None if there was no verdict."""

    plan: ChaosPlan
    report: dict[str, Any] | None
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return self.report is not None and bool(self.report["passed"])


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read `1-25`, `7` or `3,5,10-12`.

    Raises:
        UsageError: it is none of these.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"--seeds {text!r} takes numbers and ranges, such as 1-25 or 3,5,7")
        seeds += range(int(first), int(last or first) + 1)
    if not 1 <= len(seeds) <= MOST_SEEDS:
        raise UsageError(f"--seeds {text!r} takes 1 to {MOST_SEEDS} seeds")
    return tuple(seeds)


def tabulate(outcomes: Iterable[Outcome]) -> Table:
    """One line for each seed."""
    table = Table(title="Chaos", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    figures = ("handled", "poisoned", "lost", "duplicates", "order_violations", "suppressed")
    for name in ("seed", "partitions", "hosts", "keys", "faults", "kinds", *figures):
        table.add_column(name.replace("_", " "), justify="right")
    for name in ("opened", "seconds"):
        table.add_column(name, justify="right")
    table.add_column()
    for outcome in outcomes:
        plan, report = outcome.plan, outcome.report
        shape = (plan.seed, plan.partitions, plan.instances, plan.keys)
        row = [str(number) for number in (*shape, len(plan.faults), len(plan.kinds))]
        if report is None:
            table.add_row(*row, *["-"] * (len(figures) + 2), f"✗ {outcome.error}")
            continue
        row += [f"{report[name]:,}" for name in figures]
        row += [str(report["circuit"]["opened"]), f"{report['seconds']:.0f}"]
        table.add_row(*row, "✓" if outcome.passed else "✗")
    return table
