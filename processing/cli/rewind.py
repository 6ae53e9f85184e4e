"""`python -m processing rewind`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from breaker import BreakerError
from processing.cli.app import open_tools, user
from processing.cli.output import printable, table
from processing.cli.restart_bars import StageBars
from processing.cli.signals import calling_on_signals, say
from processing.errors import ProcessingError, SettingsError
from processing.operations import open_rewind
from processing.partitions.rewind import Rewind, RewindRecord, changes
from processing.partitions.rewind_plan import RewindPlan, plan_document
from processing.site.restart import Restart, RestartReport, Stopping
from processing.site.restart_text import has_failed, restart_line
from processing.site.settings import NOT_SET

INTERRUPTED = 130
SAY = "Ending after the present partition; press Ctrl-C again to end in the middle of it"
SAY_RESTART = (
    "Ending after the present partition, and starting the app again; press Ctrl-C again to end in "
    "the middle of it"
)


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    """Add the command `rewind`."""
    command = commands.add_parser(
        "rewind",
        parents=[common],
        help="process events again from a sequence number onwards; stop the app first, or add "
        "--restart",
    )
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--partition", metavar="P", help="rewind this partition")
    which.add_argument(
        "--all",
        action="store_true",
        help="rewind all partitions (with --to-start), or all that have lost parked events (with "
        "--to-mark)",
    )
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--to",
        type=_number,
        metavar="SEQ",
        help="sequence number of the first event to process again",
    )
    where.add_argument(
        "--to-start", action="store_true", help="process again all events that the hub retains"
    )
    where.add_argument(
        "--to-mark",
        action="store_true",
        help="process again the parked events that Redis has lost",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="show the rewind, but change nothing"
    )
    command.add_argument(
        "--restart",
        action="store_true",
        help="stop the app, wait until its ownership has expired, rewind, and start the app; an "
        "app that is stopped stays stopped",
    )
    command.add_argument(
        "--force",
        action="store_true",
        help="rewind although the app seems to own a partition (not with --restart), or although "
        "Redis has lost no parked events; use it only if the app is certainly stopped",
    )
    command.add_argument(
        "--by",
        default=user(),
        metavar="NAME",
        help="name for the circuit's history, with --restart (default: your user name)",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=run, check=_check)


@dataclass(slots=True)
class _Result:
    """The outcome of the command.

    Attributes:
        plan: the last plan.
        record: what is changed.
        error: the error that ended the rewind, or "".
        interrupted: the signal that ended the rewind, or "".
        restart: the report of a restart; None without --restart.
        source: the name of the service that stops and starts the app.
    """

    plan: RewindPlan
    record: RewindRecord = field(default_factory=RewindRecord)
    error: str = ""
    interrupted: str = ""
    restart: RestartReport | None = None
    source: str = ""

    @property
    def code(self) -> int:
        """The exit code."""
        if self.interrupted:
            return INTERRUPTED
        failed = self.restart is not None and has_failed(self.restart)
        return 1 if self.error or failed or self.plan.left_out else 0


async def run(settings: Mapping[str, str], arguments: argparse.Namespace) -> int:
    """Rewind partitions, or print the plan of a dry run.

    Returns:
        0; 1 if a partition is left as it is, or the app is not started again; 130 if the operator
        interrupted.
    """
    async with open_rewind(settings) as rewind:
        plan = await _plan(rewind, arguments)
        if arguments.dry_run:
            if arguments.json:
                print(json.dumps({"dry_run": True, **plan_document(plan)}))
            else:
                print(f"{_plan_text(plan)}\nNothing was changed (--dry-run)")
            return 1 if plan.left_out else 0
        if arguments.restart:
            result = await _restart(settings, arguments, rewind, plan)
        else:
            result = await _rewind(arguments, rewind, plan)
    print(json.dumps(_document(result)) if arguments.json else _text(result))
    if result.error:
        print(f"processing: {printable(result.error)}", file=sys.stderr)
    if result.restart is not None and result.restart.unrecorded:
        print(
            "processing: the stop or the start is not on record in the circuit's history: "
            f"{printable(result.restart.unrecorded)}",
            file=sys.stderr,
        )
    return result.code


async def _plan(rewind: Rewind, arguments: argparse.Namespace) -> RewindPlan:
    partitions = None if arguments.all else [arguments.partition]
    if arguments.to_mark:
        return await rewind.plan_to_marks(partitions, force=arguments.force)
    return await rewind.plan(partitions, arguments.to)


async def _rewind(arguments: argparse.Namespace, rewind: Rewind, plan: RewindPlan) -> _Result:
    result = _Result(plan)

    def interrupt(name: str) -> None:
        if result.interrupted:
            running.cancel()
        result.interrupted = name
        say(SAY)

    running = asyncio.ensure_future(
        rewind.run(
            plan.steps,
            force=arguments.force,
            record=result.record,
            stopping=lambda: bool(result.interrupted),
        )
    )
    with calling_on_signals(interrupt):
        try:
            await running
        except (ProcessingError, BreakerError, OSError) as error:
            result.error = str(error)
        except asyncio.CancelledError:
            if not result.interrupted:
                raise
    return result


async def _restart(
    settings: Mapping[str, str], arguments: argparse.Namespace, rewind: Rewind, plan: RewindPlan
) -> _Result:
    """Stop the app, rewind and start the app.

    The app has handled more events by the time it is stopped, so the plan is made again.
    """
    result = _Result(plan)
    partitions = {step.partition for step in plan.steps}
    bars = StageBars(quiet=arguments.json)
    async with open_tools(settings) as tools:
        if tools.site is None:
            raise SettingsError(NOT_SET)
        await tools.breaker.refresh()

        async def act(stopping: Stopping) -> None:
            result.plan = await _plan(rewind, arguments)
            await rewind.run(result.plan.steps, record=result.record, stopping=stopping)

        def interrupt(name: str) -> None:
            restart.interrupt(name)
            say(SAY_RESTART)

        restart = Restart(
            tools.site,
            tools.breaker,
            by=arguments.by,
            reason="rewind",
            owned_seconds=lambda: rewind.owned_seconds(partitions),
            show=bars,
        )
        try:
            with calling_on_signals(interrupt):
                result.restart = await restart.run(act)
        finally:
            bars.close()
        result.source = tools.site.settings.source
    result.error, result.interrupted = result.restart.error, result.restart.interrupted
    return result


def _text(result: _Result) -> str:
    ended = not (result.error or result.interrupted)
    lines = [_plan_text(result.plan)]
    if not ended:
        lines += changes(result.plan.steps, result.record)
    elif result.restart is None:
        number = _partitions(len(result.record.done))
        lines.append(f"Rewound {number}; start the app to process the events again.")
    else:
        lines.append(f"Rewound {_partitions(len(result.record.done))}.")
    if result.interrupted:
        lines.append(f"Interrupted ({result.interrupted}).")
    if result.restart is not None:
        lines.append(printable(restart_line(result.restart, source=result.source)))
    return "\n".join(lines)


def _document(result: _Result) -> dict[str, Any]:
    restart = result.restart
    app = restart and {
        "was_stopped": restart.was_stopped,
        "stop_accepted": restart.stop is not None and restart.stop.accepted,
        "stop_seen": restart.stop_seen,
        "start_accepted": restart.start is not None and restart.start.accepted,
        "start_seen": restart.start_seen,
        "left_stopped": restart.left_stopped,
    }
    return {
        "dry_run": False,
        **plan_document(result.plan),
        "rewound": result.record.done,
        "half_done": result.record.begun or None,
        "error": result.error or None,
        "interrupted": result.interrupted or None,
        "app": app,
    }


def _plan_text(plan: RewindPlan) -> str:
    rows = [
        (step.partition, "-" if step.before is None else step.before, step.first, step.events)
        for step in plan.steps
    ]
    lines = [table(("partition", "old checkpoint", "restart at", "events to repeat"), rows)]
    for step in plan.steps:
        lines += [f"Partition {step.partition}: {printable(each.text)}." for each in step.warnings]
    lines += [f"{printable(each.text)}." for each in plan.warnings]
    lines += [
        f"Partition {each.partition} is left as it is: {printable(each.reason)}."
        for each in plan.left_out
    ]
    return "\n".join(lines)


def _partitions(number: int) -> str:
    return "1 partition" if number == 1 else f"{number} partitions"


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.all and arguments.to is not None:
        parser.error(
            "--all takes --to-start or --to-mark, not --to: each partition has its own sequence "
            "numbers"
        )
    if arguments.restart and arguments.force and not arguments.to_mark:
        parser.error("--restart takes no --force: it waits until no host owns the partitions")


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a sequence number (0 or more)")
    return int(text)
