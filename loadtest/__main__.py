"""`python -m loadtest run|chaos-sweep`: exit code 0 if every promise was kept."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from loadtest.arguments import parse
from loadtest.errors import LoadTestError, UsageError
from loadtest.observe.display import Display
from loadtest.plan.settings import Settings
from loadtest.report.report import Report, write_json
from loadtest.report.summary import show
from loadtest.runner import run
from loadtest.sweep import Outcome, Sweep, tabulate

_BROKEN, _USAGE = 1, 2
_TABLE_COLUMNS = 132
"""Of a sweep's table, at least: in fewer its figures would be cut."""


def main(arguments: Sequence[str]) -> int:
    """Run and return the exit code."""
    console, errors = Console(), Console(stderr=True)
    try:
        asked = parse(arguments)
        if isinstance(asked, Sweep):
            return _sweep(asked, console)
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
        errors.print("loadtest: interrupted; everything that was started is stopped again")
        return 128 + (stopped_by or signal.SIGINT)
    show(report, console)
    for what, file in write(report, settings).items():
        console.print(f"{what:<8} {file}", highlight=False)
    return 0 if report.passed else _BROKEN


def _sweep(sweep: Sweep, console: Console) -> int:
    """Run each seed; the exit code, that of an interruption if there was one."""
    outcomes: list[Outcome] = []
    for settings in sweep:
        plan = settings.chaos
        assert plan is not None  # noqa: S101 - a sweep is of chaos
        console.rule(f"seed {plan.seed}", align="left")
        try:
            report, stopped_by = asyncio.run(_run_interruptibly(settings, console))
        except UsageError:
            raise
        except LoadTestError as error:
            console.print(f"loadtest: {error}", style="red", markup=False, highlight=False)
            outcomes.append(Outcome(plan, None, str(error).partition("\n")[0]))
            continue
        if report is None:
            return 128 + (stopped_by or signal.SIGINT)
        show(report, console)
        write(report, settings)
        outcomes.append(Outcome(plan, report.to_dict()))
    console.width = max(console.width, _TABLE_COLUMNS)
    console.print(tabulate(outcomes))
    failed = [str(outcome.plan.seed) for outcome in outcomes if not outcome.passed]
    console.print(f"{len(outcomes) - len(failed)} of {len(outcomes)} kept every promise")
    if failed:
        console.print(f"failed: {', '.join(failed)} (again with `run --scenario chaos --seed N`)")
    return _BROKEN if failed else 0


async def _run_interruptibly(
    settings: Settings, console: Console
) -> tuple[Report | None, signal.Signals | None]:
    """The report, or None and the signal that ended the run.

    The first SIGINT or SIGTERM ends the run in order; more of them change nothing, because the
    stopping is bounded in time and must not be cut short.
    """
    stopped_by: signal.Signals | None = None
    with Display(console, settings.events) as display:
        task = asyncio.create_task(run(settings, display))

        def stop(number: signal.Signals) -> None:
            nonlocal stopped_by
            if stopped_by is None:
                stopped_by = number
                console.print("stopping …")
                task.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        with contextlib.suppress(asyncio.CancelledError):
            return await task, None
    return None, stopped_by


def write(report: Report, settings: Settings) -> dict[str, Path]:
    """Write the JSON and, unless only that is wanted, a page and a picture; where each is."""
    file = settings.report
    write_json(report, file)
    if settings.json_only:
        return {"report": file}
    from loadtest.report.page import write_page  # noqa: PLC0415 - matplotlib is slow to import
    from loadtest.report.timeline import write_png  # noqa: PLC0415

    page, picture = file.with_suffix(".html"), file.with_suffix(".png")
    write_page(report, page)
    write_png(report, picture)
    return {"report": file, "page": page, "picture": picture}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
