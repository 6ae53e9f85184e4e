"""The command `python -m loadtest run|chaos-sweep`; it exits with 0 if every promise was kept."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence

from rich.console import Console

from loadtest.arguments import parse
from loadtest.errors import LoadTestError, UsageError
from loadtest.observe.display import Display
from loadtest.plan.settings import Settings
from loadtest.report.files import write
from loadtest.report.kept import show as show_kept
from loadtest.report.report import Report
from loadtest.report.summary import show
from loadtest.runner import run
from loadtest.sweep import Sweep
from loadtest.sweep_run import run_sweep

_BROKEN, _USAGE = 1, 2


def main(arguments: Sequence[str]) -> int:
    """Run and return the exit code."""
    console, errors = Console(), Console(stderr=True)
    try:
        asked = parse(arguments)
        if isinstance(asked, Sweep):
            return run_sweep(asked, console)
        settings = asked
        report, stopped_by = asyncio.run(_run_interruptibly(settings, console))
    except UsageError as error:
        errors.print(
            f"loadtest: {error}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        return _USAGE
    except LoadTestError as error:
        errors.print(
            f"loadtest: {error}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        return _BROKEN
    if report is None:
        errors.print("loadtest: interrupted; every process that the run started has stopped")
        return 128 + (stopped_by or signal.SIGINT)
    show(report, console)
    for kind, file in write(report, settings).items():
        console.print(f"{kind:<8} {file}", highlight=False)
    if settings.keep:
        show_kept(console)
    return 0 if report.passed else _BROKEN


async def _run_interruptibly(
    settings: Settings, console: Console
) -> tuple[Report | None, signal.Signals | None]:
    """Run once and return the report, or None and the signal that ended the run.

    The first SIGINT or SIGTERM shuts the run down. Later signals are ignored, because the shutdown
    has a time limit and must not be cut short.
    """
    stopped_by: signal.Signals | None = None
    with Display(console, settings.events) as display:
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
