"""The report for people, as rows, as a table for the terminal and as a list of faults."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from loadtest.report.pipelines import PipelinesReport
from loadtest.report.report import Report


def rows(report: Report) -> list[tuple[str, str, bool | None]]:
    """Return rows of name, value and whether the promise was kept (None without a promise)."""
    verdict, circuit, metrics = report.verdict, report.verdict.circuit, report.metrics
    accounted = verdict.handled + verdict.poisoned + verdict.parked + verdict.expired
    table: list[tuple[str, str, bool | None]] = [
        ("sent", f"{verdict.sent:,} events, {report.keys:,} keys", None),
        ("handled", f"{verdict.handled:,}", None),
        ("poisoned", f"{verdict.poisoned:,}", None),
        ("parked", f"{verdict.parked:,}", None),
        *_deferred(report),
        *([("expired in the hub", f"{verdict.expired:,}", None)] if verdict.expired else []),
        ("accounted for", f"{accounted:,} of {verdict.sent:,}", accounted == verdict.sent),
        ("lost", f"{verdict.lost:,}", verdict.lost == 0),
        ("duplicates", f"{verdict.duplicates:,}", verdict.duplicates == 0),
        ("order violations", f"{verdict.order_violations:,}", verdict.order_violations == 0),
    ]
    if circuit.opened:
        stop = "until the end" if circuit.stop_seconds is None else f"{circuit.stop_seconds:.1f} s"
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
            table.append(("circuit at the end", "half-open, no event left to probe with", None))
    else:
        table.append(("circuit opened", "never", None))
    table += _dependencies(report)
    if verdict.deaths:
        table.append(("processes ended by one event", f"{verdict.deaths:,}", None))
    if verdict.lists:
        most = f"{verdict.lists:,}, at most {verdict.longest_list:,} events each"
        table.append(("lists", most, None))
    if report.kills:
        table.append(("hosts killed (SIGKILL)", str(report.kills), None))
    if report.faults:
        kinds = len({fault.kind for fault in report.faults})
        table.append((f"faults (seed {report.seed})", f"{len(report.faults)}, {kinds} kinds", None))
    table += [
        ("redeliveries suppressed", f"{report.suppressed:,}", None),
        ("sending time", f"{report.send_seconds:.1f} s", None),
        ("processing time", f"{metrics.process_seconds:.1f} s", None),
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
        ("total time", f"{report.seconds:.1f} s", None),
    ]
    return table


def _deferred(report: Report) -> list[tuple[str, str, bool | None]]:
    """Return the row of the deferred keys; none if the run deferred no key."""
    deferred, back = report.verdict.deferred, report.verdict.came_back
    if not deferred:
        return []
    return [("keys deferred", f"{deferred:,}, came back: {back:,}", back == deferred)]


def _dependencies(report: Report) -> list[tuple[str, str, bool | None]]:
    """Return one row for each dependency's circuit, and one for the keys that need another."""
    found: list[tuple[str, str, bool | None]] = []
    for name, circuit in report.verdict.dependencies.items():
        opened = f"opened {_times(circuit.opened)}" if circuit.opened else "never opened"
        state = circuit.state.replace("_", "-")
        is_closed = circuit.state == "closed" if circuit.opened else None
        found.append((f"circuit of {name}", f"{opened}, {state} at the end", is_closed))
    if (others := report.verdict.others) is not None:
        found.append(("others handled while open", f"{others.while_open:,}", others.while_open > 0))
        if not report.acts:
            longest = _milliseconds(others.longest_ms)
            late = f"{others.late:,}, longest {longest}"
            found.append(("others handled late", late, others.late == 0))
    return found


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.1f} s"


def headline(broken: Sequence[str]) -> str:
    """Return the verdict in one line."""
    return (
        f"Broken promises or expectations: {len(broken)}" if broken else "Every promise was kept."
    )


def summary(report: Report) -> RenderableType:
    """Return the table for the terminal, followed by faults, broken promises and events."""
    table = _table(f"Scenario {report.title}", rows(report))
    parts: list[RenderableType] = [
        table,
        Text(headline(report.verdict.broken), _style(passed=report.passed)),
    ]
    parts += [Text(f"  {line}", "dim") for line in act_lines(report) + fault_lines(report)]
    parts += [Text(f"  ✗ {line}", "red") for line in report.verdict.broken]
    parts += [Text(f"    {line}") for line in report.verdict.diff]
    return Group(*parts)


def _style(*, passed: bool) -> str:
    return "bold green" if passed else "bold red"


def _table(title: str, lines: Sequence[tuple[str, str, bool | None]]) -> Table:
    table = Table(show_header=False, title=title, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    marks = {True: Text("✓", "green"), False: Text("✗", "bold red"), None: Text("")}
    for name, value, kept in lines:
        table.add_row(name, value, marks[kept])
    return table


def act_lines(report: Report) -> list[str]:
    """Return one numbered line per act, with its time and title."""
    lines = []
    for number, act in enumerate(report.acts, start=1):
        began, ended = report.offset(act.began_us), report.offset(act.ended_us)
        lines.append(f"act {number}, {began:.1f} s to {ended:.1f} s: {act.title}")
    return lines


def fault_lines(report: Report) -> list[str]:
    """Return one numbered line per injected fault, with its time, kind and detail."""
    lines = []
    for number, fault in enumerate(report.faults, start=1):
        at = f"{report.offset(fault.began_us):.1f} s"
        if fault.ended_us is not None:
            at = f"{at} to {report.offset(fault.ended_us):.1f} s"
        lines.append(f"{number}. {at}: {fault.kind} ({fault.detail})")
    return lines


def pipelines_rows(report: PipelinesReport) -> list[tuple[str, str, bool | None]]:
    """Return the rows of what concerns all pipelines, as `rows`."""
    verdict = report.verdict
    return [
        ("hit pipeline", report.hit, None),
        ("others handled while held", f"{verdict.while_held:,}", None),
        ("others held", f"{verdict.held:,}", verdict.held == 0),
        ("replayed by a redrive", f"{verdict.redriven:,}", None),
        ("left alone by the redrive", f"{verdict.kept:,}", None),
    ]


def _pipelines_summary(report: PipelinesReport) -> RenderableType:
    table = _table(f"Scenario {report.scenario}, both pipelines", pipelines_rows(report))
    parts: list[RenderableType] = [summary(part) for part in report.parts.values()]
    parts += [table, Text(headline(report.broken), _style(passed=report.passed))]
    parts += [Text(f"  ✗ {line}", "red") for line in report.verdict.broken]
    parts += [Text(f"    {line}") for line in report.verdict.diff]
    return Group(*parts)


def show(report: Report | PipelinesReport, console: Console) -> None:
    """Print the summary."""
    if isinstance(report, PipelinesReport):
        console.print(_pipelines_summary(report), soft_wrap=True)
    else:
        console.print(summary(report), soft_wrap=True)
