"""The command `loadtest`, which runs what its options describe."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from rich.console import Console

from breaker.configuration.command_line import DONE, FAILED, exit_codes, say_error
from loadtest.arguments import CODES, group
from loadtest.observe.display import Display
from loadtest.plan.settings import Settings
from loadtest.report.files import write
from loadtest.report.kept import show as show_kept
from loadtest.report.pipelines import PipelinesReport
from loadtest.report.report import Report
from loadtest.report.summary import show
from loadtest.runner import run
from loadtest.sweep import Sweep
from loadtest.sweep_run import run_sweep


@exit_codes(CODES)
def _execute(asked: Settings | Sweep) -> int:
    """Run and return the exit code; 0 if every promise was kept."""
    console = Console()
    if isinstance(asked, Sweep):
        return run_sweep(asked, console)
    report, stopped_by = asyncio.run(_run_interruptibly(asked, console))
    if report is None:
        say_error("interrupted; every process that the run started has stopped")
        return 128 + (stopped_by or signal.SIGINT)
    show(report, console)
    for kind, file in write(report, asked).items():
        console.print(f"{kind:<8} {file}", highlight=False)
    if asked.keep:
        show_kept(console)
    return DONE if report.passed else FAILED


loadtest = group(_execute)


async def _run_interruptibly(
    settings: Settings, console: Console
) -> tuple[Report | PipelinesReport | None, signal.Signals | None]:
    """Run once and return the report, or None and the signal that ended the run.

    The first SIGINT or SIGTERM shuts the run down. Later signals are ignored, because the shutdown
    has a time limit and must not be cut short.
    """
    stopped_by: signal.Signals | None = None
    with Display(console, settings.all_events) as display:
        task = asyncio.create_task(run(settings, display))

        def stop(number: signal.Signals) -> None:
            nonlocal stopped_by
            if stopped_by is None:
                stopped_by = number
                console.print("shutting down …")
                task.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        with contextlib.suppress(asyncio.CancelledError):
            return await task, None
    return None, stopped_by
