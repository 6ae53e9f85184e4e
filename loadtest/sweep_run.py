"""Carries out a sweep: some runs at once, a bar for all, a table at the end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from loadtest.errors import LoadTestError, UsageError
from loadtest.observe.display import Display
from loadtest.plan.settings import Settings
from loadtest.report.files import write
from loadtest.report.pipelines import PipelinesReport
from loadtest.report.report import Report
from loadtest.report.summary import show
from loadtest.runner import run
from loadtest.sweep import Outcome, Sweep, tabulate, write_table

_log = logging.getLogger(__name__)

type Run = Callable[[Settings, Display], Awaitable[Report | PipelinesReport]]
"""A function that carries out one run."""

_TABLE_COLUMNS = 140
"""Of a sweep's table, at least: in fewer its figures would be cut."""


def run_sweep(sweep: Sweep, console: Console, *, run: Run = run) -> int:
    """Run each seed and print a table; return the exit code, that of an interruption if any.

    Raises:
        UsageError: the settings of a run are impossible; no run continues.
    """
    runs = list(sweep)
    sweep.directory.mkdir(parents=True, exist_ok=True)
    warnings = sweep.directory / "warnings.log"
    logging.basicConfig(filename=warnings, filemode="w", format="%(asctime)s %(message)s")
    going = _Runs(console, asyncio.Semaphore(sweep.jobs), run)
    stopped_by = asyncio.run(going.all(runs))
    outcomes = sorted(going.outcomes, key=lambda each: runs.index(each.settings))
    table = sweep.directory / "sweep.json"
    write_table(outcomes, table)
    console.width = max(console.width, _TABLE_COLUMNS)
    console.print(tabulate(outcomes))
    failed = [outcome for outcome in outcomes if not outcome.passed]
    console.print(f"{len(outcomes) - len(failed)} of {len(runs)} kept every promise")
    console.print(f"table    {table}\nlogs     {sweep.directory}/seed-N.log", highlight=False)
    for outcome in failed:
        console.print(
            f"failed: repeat it with `breakwater loadtest {outcome.command}`",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if stopped_by is not None:
        return 128 + stopped_by
    return 1 if failed else 0


@dataclass
class _Runs:
    """The runs of a sweep; each writes its lines to a log of its own."""

    console: Console
    free: asyncio.Semaphore
    run: Run
    drawing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """matplotlib draws one picture at a time."""
    outcomes: list[Outcome] = field(default_factory=list)

    async def all(self, runs: list[Settings]) -> signal.Signals | None:
        """Carry out the runs; return the signal that ended them early."""
        tasks: list[asyncio.Task[None]] = []
        stopped_by: signal.Signals | None = None

        def stop(number: signal.Signals) -> None:
            nonlocal stopped_by
            if stopped_by is None:
                stopped_by = number
                self.console.print("stopping …")
                for task in tasks:
                    task.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        columns = (TextColumn("seeds"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as bar:
            seeds = bar.add_task("", total=len(runs))
            tasks += [asyncio.create_task(self._one(settings)) for settings in runs]
            for done in asyncio.as_completed(tasks):
                try:
                    await done
                except asyncio.CancelledError:
                    continue
                except UsageError:
                    for task in tasks:
                        task.cancel()
                    await asyncio.wait(tasks)
                    raise
                bar.advance(seeds)
        return stopped_by

    async def _one(self, settings: Settings) -> None:
        async with self.free:
            outcome = await self._outcome(settings)
        self.outcomes.append(outcome)
        verdict = "kept every promise" if outcome.passed else f"broken: {_broken(outcome)}"
        self.console.print(
            f"{len(self.outcomes):>3}  seed {outcome.plan.seed}, {settings.scenario}: {verdict}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    async def _outcome(self, settings: Settings) -> Outcome:
        try:
            with settings.report.with_suffix(".log").open("w") as file:
                return await self._logged(settings, Console(file=file, width=_TABLE_COLUMNS))
        except UsageError:
            raise
        except Exception as error:  # one broken run must not end the others
            _log.exception("seed %d, %s", settings.seed, settings.scenario)
            return Outcome(settings, None, f"{_describe(error)}; the traceback is in warnings.log")

    async def _logged(self, settings: Settings, log: Console) -> Outcome:
        try:
            with Display(log, settings.all_events) as display:
                report = await self.run(settings, display)
        except UsageError:
            raise
        except LoadTestError as error:
            log.print(f"loadtest: {error}", markup=False, highlight=False)
            return Outcome(settings, None, str(error).partition("\n")[0])
        show(report, log)
        async with self.drawing:
            await asyncio.to_thread(write, report, settings)
        return Outcome(settings, report.to_dict())


def _describe(error: Exception) -> str:
    """Return the error's type and the first line of its message."""
    message = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _broken(outcome: Outcome) -> str:
    return "; ".join(outcome.to_dict()["broken"])
