"""The report of one run as a value, written as JSON and shown by summary, page and picture."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest.faults.chaos import FaultDone
from loadtest.faults.downstream import Act
from loadtest.observe.observer import Sample
from loadtest.operator import Approval
from loadtest.verify.evidence import Transition
from loadtest.verify.metrics import BIN_US, Metrics
from loadtest.verify.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The results of one run; durations in seconds, `started_us` by the Redis server's clock.

    `owners` is partition → host instance at the end. `faults` are in the order in which they began.
    `dependencies` has the transitions of each dependency's circuit, and `acts` the outages of a
    scenario with acts. `pipeline` is "" for an app with one pipeline.
    """

    run: str
    scenario: str
    keys: int
    instances: int
    partitions: int
    verdict: Verdict
    metrics: Metrics
    history: tuple[Transition, ...]
    samples: tuple[Sample, ...]
    approvals: tuple[Approval, ...]
    owners: Mapping[str, str]
    kills: int
    seed: int
    faults: tuple[FaultDone, ...]
    suppressed: int
    refused: int
    failure_threshold: int
    window_seconds: float
    started_us: int
    start_seconds: float
    send_seconds: float
    seconds: float
    dependencies: Mapping[str, tuple[Transition, ...]] = field(default_factory=dict)
    acts: tuple[Act, ...] = ()
    pipeline: str = ""

    @property
    def title(self) -> str:
        """The scenario, with the pipeline if the app has several."""
        return f"{self.scenario}, {self.pipeline}" if self.pipeline else self.scenario

    @property
    def passed(self) -> bool:
        """Return whether every promise was kept."""
        return self.verdict.kept

    def offset(self, at_us: int) -> float:
        """Return the seconds since the first sample."""
        return (at_us - self.started_us) / 1e6

    def _transitions(self, history: Iterable[Transition]) -> list[dict[str, Any]]:
        return [{**each._asdict(), "at_seconds": self.offset(each.at_us)} for each in history]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        verdict = dataclasses.asdict(self.verdict)
        broken, diff = verdict.pop("broken"), verdict.pop("diff")
        circuit, dependencies = verdict.pop("circuit"), verdict.pop("dependencies")
        metrics = self.metrics
        return {
            "passed": self.passed,
            "run": self.run,
            **({"pipeline": self.pipeline} if self.pipeline else {}),
            "scenario": self.scenario,
            "keys": self.keys,
            "instances": self.instances,
            "partitions": self.partitions,
            "owners": dict(self.owners),
            **verdict,
            "suppressed": self.suppressed,
            "refused": self.refused,
            "kills": self.kills,
            "seed": self.seed,
            "faults": [
                {
                    "kind": fault.kind.value,
                    "at_seconds": round(self.offset(fault.began_us), 2),
                    "until_seconds": None
                    if fault.ended_us is None
                    else round(self.offset(fault.ended_us), 2),
                    "detail": fault.detail,
                }
                for fault in self.faults
            ],
            "circuit": {
                **circuit,
                "failure_threshold": self.failure_threshold,
                "window_seconds": self.window_seconds,
                "history": self._transitions(self.history),
                "approvals": [dataclasses.asdict(approval) for approval in self.approvals],
            },
            "dependencies": {
                name: {
                    **figures,
                    "history": self._transitions(self.dependencies.get(name, ())),
                }
                for name, figures in dependencies.items()
            },
            "acts": [
                {
                    "title": act.title,
                    "at_seconds": round(self.offset(act.began_us), 2),
                    "until_seconds": round(self.offset(act.ended_us), 2),
                }
                for act in self.acts
            ],
            "app": {
                "stopped": [[round(start, 2), round(end, 2)] for start, end in stopped_spans(self)],
                "least_instances_while_stopped": min(
                    (each.instances for each in self.samples if each.app_state == "Stopped"),
                    default=None,
                ),
            },
            "seconds": round(self.seconds, 3),
            "start_seconds": round(self.start_seconds, 3),
            "send_seconds": round(self.send_seconds, 3),
            "process_seconds": round(metrics.process_seconds, 3),
            "events_per_second": round(metrics.events_per_second, 1),
            "peak_events_per_second": metrics.peak_events_per_second,
            "latency_ms": {
                "p50": _rounded(metrics.latency_p50_ms),
                "p99": _rounded(metrics.latency_p99_ms),
            },
            "broken": list(broken),
            "diff": list(diff),
            "timeline": {
                "handled": [
                    [round(self.offset(bin_ * BIN_US), 2), count]
                    for bin_, count in metrics.handled_by_bin.items()
                ],
                "samples": [
                    {
                        "at_seconds": round(self.offset(sample.at_us), 2),
                        "handled": sample.handled,
                        "poisoned": sample.poisoned,
                        "failures": sample.failures,
                        "state": sample.state,
                        "app_state": sample.app_state,
                        "instances": sample.instances,
                    }
                    for sample in self.samples
                ],
            },
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def write_json(document: Mapping[str, Any], file: Path) -> None:
    """Write a report's JSON document atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".json.tmp")
    temporary.write_text(json.dumps(document, indent=2) + "\n")
    temporary.replace(file)


def stopped_spans(report: Report) -> list[tuple[float, float]]:
    """Return the start and end, in seconds, of each period in which the app was stopped."""
    spans: list[tuple[float, float]] = []
    since: float | None = None
    at = 0.0
    for sample in report.samples:
        at = report.offset(sample.at_us)
        if sample.app_state == "Stopped" and since is None:
            since = at
        elif sample.app_state != "Stopped" and since is not None:
            spans.append((since, at))
            since = None
    if since is not None:
        spans.append((since, at))
    return spans
