"""The progress display, with bars in a terminal and one line every 5 s elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from loadtest.observe.observer import Sample

_LINE_SECONDS = 5.0


class Stage(StrEnum):
    """The stages of a run, as displayed."""

    STARTING = "starting the stack"
    SENDING = "sending and handling"
    HANDLING = "handling"
    OPEN = "circuit open, processing is held"
    WAITING = "app stopping, waiting for the operator's approval"
    RESUMING = "approved, circuit half-open"
    RESUMED = "resumed"
    VERIFYING = "verifying from the outside"
    STOPPING = "stopping the stack"
    KEEPING = "starting the stack again with the run's data"


def stage_of(sample: Sample, *, sent: bool, waiting: bool, opened: bool) -> Stage:
    """Return the stage that a sample shows; `opened` is whether the circuit has opened before."""
    if sample.state == "open":
        return Stage.WAITING if waiting else Stage.OPEN
    if sample.state == "half_open":
        return Stage.RESUMING
    if opened:
        return Stage.RESUMED
    return Stage.HANDLING if sent else Stage.SENDING


class Display:
    """A progress display for one run, used as a context manager; `update` may be called often."""

    def __init__(self, console: Console, events: int, failure_threshold: int = 0) -> None:
        self._console = console
        self._events = events
        self._stage: Stage | None = None
        self._line_at = 0.0
        self._began = time.monotonic()
        self._handled = 0
        self._acknowledged = 0
        self._dependencies: Mapping[str, str] = {}
        self.failure_threshold = failure_threshold
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def stage(self, stage: Stage) -> None:
        """Print the stage, unless the run is in that stage already."""
        if stage is self._stage:
            return
        self._stage = stage
        self._line_at = time.monotonic()
        handled = f"  ({self._handled:,} handled)" if self._handled else ""
        self.print_line(f"{stage.value}{handled}")

    def print_line(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(
            f"{self._elapsed()}  {text}", highlight=False, markup=False, soft_wrap=True
        )

    def update(self, sample: Sample, acknowledged: int, stage: Stage) -> None:
        """Show the latest figures."""
        self._handled, self._acknowledged = sample.handled, acknowledged
        self.stage(stage)
        self._print_dependencies(sample)
        if self._progress.disable:
            self._print_if_due(sample)
            return
        notes = {
            "sent": "",
            "handled": f"{sample.poisoned} poisoned" if sample.poisoned else "",
            "failures": f"in the window; circuit {sample.state.replace('_', '-')}",
        }
        values = {"sent": acknowledged, "handled": sample.handled, "failures": sample.failures}
        for name, note in notes.items():
            if name not in self._bars:
                total = self.failure_threshold if name == "failures" else self._events
                self._bars[name] = self._progress.add_task(name, total=total, note="")
            self._progress.update(self._bars[name], completed=values[name], note=note)

    def _print_dependencies(self, sample: Sample) -> None:
        """Print a line for each dependency whose circuit has changed its state."""
        for name, state in sample.dependencies.items():
            if state != self._dependencies.get(name, "closed"):
                self.print_line(
                    f"circuit of {name} {state.replace('_', '-')}  ({sample.handled:,} handled)"
                )
        self._dependencies = sample.dependencies

    def _print_if_due(self, sample: Sample) -> None:
        if (now := time.monotonic()) - self._line_at >= _LINE_SECONDS:
            self._line_at = now
            self.print_line(
                f"  {self._acknowledged:,} sent, {sample.handled:,} handled, "
                f"{sample.poisoned} poisoned, {sample.failures} failures in the window, "
                f"circuit {sample.state.replace('_', '-')}"
            )

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._began:6.1f} s"
