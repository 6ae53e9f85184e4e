"""The report of a run with several pipelines: one report for each, and what concerns all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loadtest.report.report import Report
from loadtest.verify.two_pipelines import PipelinesVerdict

_SUMS = (
    "sent",
    "handled",
    "poisoned",
    "parked",
    "lost",
    "duplicates",
    "producer_duplicates",
    "order_violations",
    "suppressed",
    "refused",
    "deferred",
    "came_back",
    "expired",
)
_OF_HIT = (
    *("run", "scenario", "keys", "instances", "partitions", "kills", "seed", "faults", "circuit"),
    *("acts", "app", "seconds", "start_seconds"),
)


@dataclass(frozen=True, slots=True)
class PipelinesReport:
    """The results of a run with several pipelines.

    Attributes:
        hit: the name of the pipeline that the faults hit.
        parts: the report on each pipeline, by name.
        verdict: what concerns both pipelines.
    """

    hit: str
    parts: Mapping[str, Report]
    verdict: PipelinesVerdict

    @property
    def scenario(self) -> str:
        """The name of the scenario."""
        return self.parts[self.hit].scenario

    @property
    def broken(self) -> tuple[str, ...]:
        """One line for each broken promise, with the name of its pipeline."""
        lines = [
            f"{name}: {line}" for name, part in self.parts.items() for line in part.verdict.broken
        ]
        return (*lines, *self.verdict.broken)

    @property
    def passed(self) -> bool:
        """Return whether every promise was kept."""
        return not self.broken

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document: sums over the pipelines, and each pipeline's own document."""
        parts = {name: part.to_dict() for name, part in self.parts.items()}
        hit = parts[self.hit]
        verdict = self.verdict
        return {
            "passed": self.passed,
            "hit": self.hit,
            **{name: hit[name] for name in _OF_HIT},
            **{name: sum(part[name] for part in parts.values()) for name in _SUMS},
            "while_held": verdict.while_held,
            "held": verdict.held,
            "redriven": verdict.redriven,
            "kept": verdict.kept,
            "broken": list(self.broken),
            "diff": [
                *(f"{name}: {line}" for name, part in parts.items() for line in part["diff"]),
                *verdict.diff,
            ],
            "pipelines": parts,
        }
