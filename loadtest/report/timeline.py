"""The timeline picture, with throughput, failures in the window and the circuit's state."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from loadtest.report.report import Report, stopped_spans
from loadtest.verify.evidence import Transition
from loadtest.verify.metrics import BIN_US

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STATE_COLORS = {"open": "#f4b6b0", "half_open": "#fbe2a8", "isolated": "#d9c3ea"}
_DEPENDENCY_COLORS = {"open": "#d1495b", "half_open": "#e9a03b", "isolated": "#8a63b8"}
_STATE_NAMES = {"open": "circuit open", "half_open": "half-open", "isolated": "isolated"}
_ENTERED = {
    "opened": "open",
    "half_opened": "half_open",
    "closed": "closed",
    "isolated": "isolated",
}
_HANDLED, _FAILURES, _THRESHOLD, _STOPPED = "#1f6fb2", "#b3362b", "#7a1e16", "#555555"
_FAULT = "#6a3d9a"


def draw(report: Report) -> Figure:
    """Return a figure of 10 by 5.6 inches, drawn without a window or global state."""
    figure = Figure(figsize=(10, 5.6), layout="constrained", facecolor="white")
    throughput, failures = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    end = _end(report)
    _draw_throughput(throughput, report)
    _draw_failures(failures, report)
    _mark_faults(throughput, report)
    _draw_dependencies(throughput, report, end)
    for axes in (throughput, failures):
        _shade(axes, report, end, named=axes is throughput)
        axes.set_xlim(0, end)
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, color="#e3e3e3", linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        handles, labels = axes.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        axes.legend(
            unique.values(),
            unique.keys(),
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
        )
    failures.set_xlabel("seconds")
    verdict = report.verdict
    figure.suptitle(
        f"{report.title}: {verdict.sent:,} sent, {verdict.handled:,} handled, "
        f"{verdict.poisoned:,} poisoned, {verdict.lost:,} lost, "
        f"{verdict.duplicates:,} duplicates, {verdict.order_violations:,} out of order",
        fontsize=11,
    )
    return figure


def write_png(report: Report, file: Path) -> None:
    """Write the timeline as PNG."""
    draw(report).savefig(file, format="png", dpi=110)


def svg(report: Report) -> str:
    """Return the timeline as an SVG element."""
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": report.run}):
        draw(report).savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    document = text.getvalue()
    return document[document.index("<svg") :]


def _end(report: Report) -> float:
    moments = [report.offset(sample.at_us) for sample in report.samples]
    moments += [report.offset((bin_ + 1) * BIN_US) for bin_ in report.metrics.handled_by_bin]
    return max([1.0, *moments])


def _draw_throughput(axes: Axes, report: Report) -> None:
    bins = report.metrics.handled_by_bin
    per_second = 1_000_000 / BIN_US
    times, rates = [], []
    if bins:
        for bin_ in range(min(bins), max(bins) + 2):
            times.append(report.offset(bin_ * BIN_US))
            rates.append(bins.get(bin_, 0) * per_second)
    axes.fill_between(times, rates, step="post", color=_HANDLED, alpha=0.3, linewidth=0)
    axes.plot(times, _smoothed(rates), color=_HANDLED, linewidth=1.4, label="handled")
    axes.set_ylabel("events per second")
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _smoothed(rates: list[float], half: int = 2) -> list[float]:
    """Return means over 1.25 s, because batches make single bins jump."""
    means = []
    for index in range(len(rates)):
        around = rates[max(0, index - half) : index + half + 1]
        means.append(sum(around) / len(around))
    return means


def _draw_failures(axes: Axes, report: Report) -> None:
    times = [report.offset(sample.at_us) for sample in report.samples]
    counts = [sample.failures for sample in report.samples]
    axes.plot(times, counts, color=_FAILURES, linewidth=1.4, label="failures")
    axes.axhline(
        report.failure_threshold,
        color=_THRESHOLD,
        linestyle="--",
        linewidth=1,
        label=f"threshold ({report.failure_threshold})",
    )
    axes.set_ylabel(f"failures in {report.window_seconds:g} s")
    axes.set_ylim(0, max([report.failure_threshold, *counts]) * 1.15)


def state_spans(
    report: Report, end: float, history: Iterable[Transition]
) -> Iterator[tuple[str, float, float]]:
    """Yield state, start and end, in seconds, of each period with a circuit not closed."""
    state, since = "closed", 0.0
    for transition in history:
        entered = _ENTERED.get(transition.event, state)
        if entered == state:
            continue
        at = report.offset(transition.at_us)
        if state in _STATE_COLORS:
            yield state, since, at
        state, since = entered, at
    if state in _STATE_COLORS:
        yield state, since, end


def _draw_dependencies(axes: Axes, report: Report, end: float) -> None:
    """Draw a bar for each time in which a dependency's circuit was not closed."""
    for number, (name, history) in enumerate(report.dependencies.items()):
        height = 0.05 + 0.06 * number
        for state, start, stop in state_spans(report, end, history):
            axes.axvspan(
                start,
                stop,
                ymin=height,
                ymax=height + 0.04,
                color=_DEPENDENCY_COLORS[state],
                linewidth=0,
                label=f"{name}: {_STATE_NAMES[state]}",
            )


def _mark_faults(axes: Axes, report: Report) -> None:
    """Draw a numbered line at the start of each fault, and a bar over its duration."""
    top = axes.get_xaxis_transform()
    for number, fault in enumerate(report.faults, start=1):
        began = report.offset(fault.began_us)
        axes.axvline(began, color=_FAULT, linewidth=0.9, linestyle=":", label="fault")
        # Alternate between three heights, so that labels close together stay readable.
        height = 0.93 - 0.07 * (number % 3)
        if fault.ended_us is not None:
            ended = report.offset(fault.ended_us)
            axes.plot([began, ended], [height, height], color=_FAULT, linewidth=3, transform=top)
        axes.text(began, height, f" {number}", color=_FAULT, fontsize=8, transform=top)


def _shade(axes: Axes, report: Report, end: float, *, named: bool) -> None:
    for state, start, stop in state_spans(report, end, report.history):
        axes.axvspan(
            start,
            stop,
            color=_STATE_COLORS[state],
            linewidth=0,
            label=_STATE_NAMES[state] if named else None,
        )
    for start, stop in stopped_spans(report):
        axes.axvspan(
            start,
            stop,
            ymin=0.97,
            facecolor=_STOPPED,
            linewidth=0,
            label="function app stopped" if named else None,
        )
