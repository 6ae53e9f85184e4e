"""Health report of an instance of an app that declares pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from processing.monitoring.health import HealthReport


@dataclass(frozen=True, slots=True)
class PipelinesHealth:
    """The health reports of all pipelines.

    Attributes:
        reports: the report of each pipeline by its name; a text: why there is none.
    """

    reports: Mapping[str, HealthReport | str]

    @property
    def is_healthy(self) -> bool:
        """Return whether a monitor should get HTTP 200: each pipeline has a report and is healthy.

        An open circuit is no reason for 503, as for an app with one pipeline.
        """
        return all(isinstance(each, HealthReport) and each.is_healthy for each in self._all)

    @property
    def _all(self) -> list[HealthReport | str]:
        return list(self.reports.values())

    def to_json(self) -> dict[str, Any]:
        """Return the reports as a dictionary."""
        return {
            "healthy": self.is_healthy,
            "pipelines": {name: _json(each) for name, each in self.reports.items()},
        }


def _json(report: HealthReport | str) -> dict[str, Any]:
    if isinstance(report, HealthReport):
        return report.to_json()
    return {
        "status": "degraded",
        "circuit": None,
        "partitions": [],
        "states": [],
        "dependencies": [],
        "problems": [report],
        "warnings": [],
        "mode": None,
        "is_healthy": False,
        "redrives": [],
    }
