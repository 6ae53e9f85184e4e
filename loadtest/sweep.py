"""A sweep of runs with faults, one per seed, and the table of their outcomes."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from loadtest.errors import UsageError
from loadtest.plan.chaos import ChaosPlan
from loadtest.plan.chaos_settings import chaos_settings, default_app_settings, most_events
from loadtest.plan.settings import Scenario, Settings

MOST_SEEDS = 1000
FIGURES = ("handled", "poisoned", "lost", "duplicates", "order_violations", "suppressed")


@dataclass(frozen=True)
class Sweep:
    """The seeds to run, the scenarios that they go to in turn, and the options of each run.

    Attributes:
        directory: the directory for the report and the log of each seed.
        jobs: the number of runs at the same time.

    Raises:
        UsageError: `jobs` is below 1.
    """

    seeds: tuple[int, ...]
    scenarios: tuple[Scenario, ...]
    directory: Path
    jobs: int
    chosen: dict[str, Any]

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise UsageError(f"--jobs {self.jobs} takes 1 or more")

    def __iter__(self) -> Iterator[Settings]:
        for seed, scenario in zip(self.seeds, itertools.cycle(self.scenarios)):
            more = {"seed": seed, "scenario": scenario, "report": self.report_of(seed)}
            if "events" in self.chosen:
                more["events"] = most_events(scenario, self.chosen["events"])
            yield chaos_settings({**self.chosen, **more})

    def report_of(self, seed: int) -> Path:
        """Return where the report of this seed's run goes."""
        return self.directory / f"seed-{seed}.json"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one seed; `report` is the JSON document, or None without a verdict."""

    settings: Settings
    report: dict[str, Any] | None
    error: str = ""

    @property
    def plan(self) -> ChaosPlan:
        """The plan that the seed drew."""
        assert self.settings.chaos is not None  # noqa: S101 - a sweep has faults in each run
        return self.settings.chaos

    @property
    def passed(self) -> bool:
        """Return whether every promise was kept."""
        return self.report is not None and bool(self.report["passed"])

    @property
    def command(self) -> str:
        """The options that repeat the run, quoted for a shell."""
        settings = self.settings
        options = ["run", "--faults", "--scenario", settings.scenario, "--seed", self.plan.seed]
        options += ["--events", settings.events, "--rate", f"{settings.rate_per_second:.15g}"]
        if settings.app is not None:
            options += ["--app", settings.app]
        defaults = default_app_settings(settings.scenario, self.plan)
        for name, value in settings.app_settings.items():
            if defaults.get(name) != value:
                options += ["--set", f"{name}={value}"]
        return shlex.join(map(str, options))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON row; a figure is None if there was no verdict."""
        report = self.report or {}
        return {
            "seed": self.plan.seed,
            "scenario": self.settings.scenario.value,
            "events": self.settings.events,
            "partitions": self.plan.partitions,
            "hosts": self.plan.instances,
            "keys": self.plan.keys,
            "faults": [fault.kind.value for fault in self.plan.faults],
            **{name: report.get(name) for name in FIGURES},
            **{name: report.get(name) for name in ("parked", "deferred", "came_back", "expired")},
            "opened": report["circuit"]["opened"] if report else None,
            "seconds": report.get("seconds"),
            "passed": self.passed,
            "broken": report["broken"] if report else [self.error],
        }


def parse_scenarios(text: str) -> tuple[Scenario, ...]:
    """Read `all`, `chaos` or `outage,seed`.

    Raises:
        UsageError: it names no scenario, or an unknown one.
    """
    if text == "all":
        return tuple(Scenario)
    try:
        return tuple(Scenario(name.strip()) for name in text.split(","))
    except ValueError:
        known = ", ".join(Scenario)
        raise UsageError(f"--scenarios {text!r} takes all, or some of {known}") from None


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read `1-25`, `7` or `3,5,10-12`.

    Raises:
        UsageError: the text has a different form, or too many seeds.
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
    """Return a table with one row per seed."""
    table = Table(title="Chaos", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("scenario")
    shape = ("seed", "events", "partitions", "hosts", "keys", "faults")
    for name in (*shape, *FIGURES, "opened", "seconds"):
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column()
    for outcome in outcomes:
        row = outcome.to_dict()
        row["faults"] = len(row["faults"])
        cells = [str(row["scenario"]), *(f"{row[name]:,}" for name in shape)]
        if outcome.report is None:
            table.add_row(*cells, *["-"] * (len(FIGURES) + 2), f"✗ {outcome.error}")
            continue
        cells += [f"{row[name]:,}" for name in (*FIGURES, "opened")]
        table.add_row(*cells, f"{row['seconds']:.0f}", "✓" if outcome.passed else "✗")
    return table


def write_table(outcomes: Iterable[Outcome], file: Path) -> None:
    """Write the table as JSON: a list with one object for each seed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [outcome.to_dict() for outcome in outcomes]
    file.write_text(json.dumps(rows, indent=2) + "\n")
