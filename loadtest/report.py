"""The report: one value, written as JSON, shown as a table; the page and the picture draw on it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from loadtest.chaos.faults import FaultDone
from loadtest.evidence import Transition
from loadtest.metrics import BIN_US, Metrics
from loadtest.observer import Sample
from loadtest.operator import Approval
from loadtest.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that is said about one run; times in seconds, `started_us` on Redis's clock.

    `owners` is partition → host instance at the end; `faults` in the order of their beginnings.
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

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return self.verdict.kept

    def offset(self, at_us: int) -> float:
        """Seconds since the first sample."""
        return (at_us - self.started_us) / 1e6

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        verdict = dataclasses.asdict(self.verdict)
        broken, diff = verdict.pop("broken"), verdict.pop("diff")
        circuit = verdict.pop("circuit")
        metrics = self.metrics
        return {
            "passed": self.passed,
            "run": self.run,
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
                "history": [
                    {**transition._asdict(), "at_seconds": self.offset(transition.at_us)}
                    for transition in self.history
                ],
                "approvals": [dataclasses.asdict(approval) for approval in self.approvals],
            },
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


def write_json(report: Report, file: Path) -> None:
    """Write the document so that nobody ever reads half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".json.tmp")
    temporary.write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    temporary.replace(file)


def rows(report: Report) -> list[tuple[str, str, bool | None]]:
    """Name, value and whether it is as promised (None: a figure without a promise)."""
    verdict, circuit, metrics = report.verdict, report.verdict.circuit, report.metrics
    accounted = verdict.handled + verdict.poisoned + verdict.parked
    table: list[tuple[str, str, bool | None]] = [
        ("sent", f"{verdict.sent:,} events, {report.keys:,} keys", None),
        ("handled", f"{verdict.handled:,}", None),
        ("poisoned", f"{verdict.poisoned:,}", None),
        ("parked", f"{verdict.parked:,}", None),
        ("accounted for", f"{accounted:,} of {verdict.sent:,}", accounted == verdict.sent),
        ("lost", f"{verdict.lost:,}", verdict.lost == 0),
        ("duplicates", f"{verdict.duplicates:,}", verdict.duplicates == 0),
        ("order violations", f"{verdict.order_violations:,}", verdict.order_violations == 0),
    ]
    if circuit.opened:
        stop = "never ended" if circuit.stop_seconds is None else f"{circuit.stop_seconds:.1f} s"
        table += [
            ("circuit opened", f"{_times(circuit.opened)}, alerts: {circuit.alerts}", None),
            (
                "started while open",
                f"{circuit.started_while_open:,}",
                circuit.started_while_open == 0,
            ),
            (
                "downstream called while open",
                f"{circuit.calls_while_open:,}",
                circuit.calls_while_open == 0,
            ),
            ("stopped for", stop, None),
            ("resumed", "yes" if circuit.resumed else "no", circuit.resumed),
        ]
        if circuit.state == "half_open" and circuit.resumed:
            table.append(("circuit at the end", "half-open: nothing left to probe with", None))
    else:
        table.append(("circuit opened", "never", None))
    if report.kills:
        table.append(("hosts killed (-9)", str(report.kills), None))
    if report.faults:
        kinds = len({fault.kind for fault in report.faults})
        table.append((f"faults (seed {report.seed})", f"{len(report.faults)}, {kinds} kinds", None))
    table += [
        ("redelivered, suppressed", f"{report.suppressed:,}", None),
        ("sending took", f"{report.send_seconds:.1f} s", None),
        ("processing took", f"{metrics.process_seconds:.1f} s", None),
        (
            "events per second",
            f"{metrics.events_per_second:,.0f} (best second {metrics.peak_events_per_second:,.0f})",
            None,
        ),
        (
            "latency",
            f"p50 {_milliseconds(metrics.latency_p50_ms)}, "
            f"p99 {_milliseconds(metrics.latency_p99_ms)}",
            None,
        ),
        ("whole run", f"{report.seconds:.1f} s", None),
    ]
    return table


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.1f} s"


def headline(report: Report) -> str:
    """The verdict in one line."""
    if report.passed:
        return "Every promise was kept."
    return f"{len(report.verdict.broken)} promises or expectations were broken:"


def summary(report: Report) -> RenderableType:
    """The table for the terminal, with the diff below if something broke."""
    table = Table(show_header=False, title=f"Scenario {report.scenario}", title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    marks = {True: Text("✓", "green"), False: Text("✗", "bold red"), None: Text("")}
    for name, value, kept in rows(report):
        table.add_row(name, value, marks[kept])
    parts: list[RenderableType] = [
        table,
        Text(headline(report), "bold green" if report.passed else "bold red"),
    ]
    parts += [Text(f"  {line}", "dim") for line in fault_lines(report)]
    parts += [Text(f"  ✗ {line}", "red") for line in report.verdict.broken]
    parts += [Text(f"    {line}") for line in report.verdict.diff]
    return Group(*parts)


def fault_lines(report: Report) -> list[str]:
    """What was done to the stack and when, one line each."""
    lines = []
    for number, fault in enumerate(report.faults, start=1):
        at = f"{report.offset(fault.began_us):.1f} s"
        if fault.ended_us is not None:
            at = f"{at} to {report.offset(fault.ended_us):.1f} s"
        lines.append(f"{number}. {at}: {fault.kind} ({fault.detail})")
    return lines


def show(report: Report, console: Console) -> None:
    """Print the table."""
    console.print(summary(report), soft_wrap=True)


def stopped_spans(report: Report) -> list[tuple[float, float]]:
    """From and to, in seconds, for each time in which the function app was stopped."""
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
