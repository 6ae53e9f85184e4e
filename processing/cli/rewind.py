"""`breakwater rewind`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import click

from breaker import BreakerError
from breaker.configuration.command_line import (
    INTERRUPTED,
    WholeNumber,
    json_option,
    say_error,
)
from breaker.configuration.pipeline_option import on_one_pipeline, other_pipelines
from breaker.configuration.pipelines import Pipeline
from processing.cli.app import open_tools
from processing.cli.options import by_option, command, one_of
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

SAY = "Ending after the present partition; press Ctrl-C again to end in the middle of it"
SAY_RESTART = (
    "Ending after the present partition, and starting the app again; press Ctrl-C again to end in "
    "the middle of it"
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The rewind that an operator asks for; `to` is None with --to-start."""

    partition: str | None
    to: int | None
    to_mark: bool
    force: bool
    by: str
    as_json: bool


@click.command(short_help="Process events again from a sequence number onwards.")
@on_one_pipeline
@click.option("--partition", metavar="P", help="Rewind this partition.")
@click.option(
    "--all",
    "all_partitions",
    is_flag=True,
    help="Rewind all partitions (with --to-start), or all that have lost parked events (with "
    "--to-mark).",
)
@click.option(
    "--to",
    type=WholeNumber(0),
    metavar="SEQ",
    help="Sequence number of the first event to process again.",
)
@click.option("--to-start", is_flag=True, help="Process again all events that the hub retains.")
@click.option(
    "--to-mark", is_flag=True, help="Process again the parked events that Redis has lost."
)
@click.option("--dry-run", is_flag=True, help="Show the rewind, but change nothing.")
@click.option(
    "--restart",
    is_flag=True,
    help="Stop the app, wait until its ownership has expired, rewind, and start the app; an app "
    "that is stopped stays stopped.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Rewind although the app seems to own a partition (not with --restart), or although Redis "
    "has lost no parked events; use it only if the app is certainly stopped.",
)
@by_option("the circuit's history, with --restart")
@json_option
@command
async def rewind(
    pipeline: Pipeline,
    *,
    partition: str | None,
    all_partitions: bool,
    to: int | None,
    to_start: bool,
    to_mark: bool,
    dry_run: bool,
    restart: bool,
    force: bool,
    by: str,
    as_json: bool,
) -> int:
    """Process events again from a sequence number onwards.

    Give --partition or --all, and one of --to, --to-start and --to-mark. Stop the app first, or add
    --restart, which stops the app with all its pipelines. The exit code is 1 if a partition is left
    as it is, or the app is not started again.
    """
    one_of(required=True, partition=partition is not None, all=all_partitions)
    one_of(required=True, to=to is not None, to_start=to_start, to_mark=to_mark)
    if all_partitions and to is not None:
        raise click.UsageError(
            "--all takes --to-start or --to-mark, not --to: each partition has its own sequence "
            "numbers"
        )
    if restart and force and not to_mark:
        raise click.UsageError(
            "--restart takes no --force: it waits until no host owns the partitions"
        )
    wanted = _Wanted(partition, to, to_mark, force, by, as_json)
    values = pipeline.settings
    async with open_rewind(values) as opened:
        plan = await _plan(opened, wanted)
        if dry_run:
            if as_json:
                print(json.dumps({"dry_run": True, **plan_document(plan)}))
            else:
                print(f"{_plan_text(plan)}\nNothing was changed (--dry-run)")
            return 1 if plan.left_out else 0
        if restart:
            result = await _restart(values, wanted, opened, plan)
        else:
            result = await _rewind(wanted, opened, plan)
    print(json.dumps(_document(result)) if as_json else _text(result))
    if result.error:
        say_error(printable(result.error))
    if result.restart is not None and result.restart.unrecorded:
        say_error(
            "the stop or the start is not on record in the circuit's history: "
            f"{printable(result.restart.unrecorded)}"
        )
    return result.code


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


async def _plan(rewind: Rewind, wanted: _Wanted) -> RewindPlan:
    partitions = None if wanted.partition is None else [wanted.partition]
    if wanted.to_mark:
        return await rewind.plan_to_marks(partitions, force=wanted.force)
    return await rewind.plan(partitions, wanted.to)


async def _rewind(wanted: _Wanted, rewind: Rewind, plan: RewindPlan) -> _Result:
    result = _Result(plan)

    def interrupt(name: str) -> None:
        if result.interrupted:
            running.cancel()
        result.interrupted = name
        say(SAY)

    running = asyncio.ensure_future(
        rewind.run(
            plan.steps,
            force=wanted.force,
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
    settings: Mapping[str, str], wanted: _Wanted, rewind: Rewind, plan: RewindPlan
) -> _Result:
    """Stop the app, rewind and start the app.

    The app has handled more events by the time it is stopped, so the plan is made again.
    """
    result = _Result(plan)
    partitions = {step.partition for step in plan.steps}
    bars, also = StageBars(quiet=wanted.as_json), other_pipelines()
    async with AsyncExitStack() as opening:
        tools = await opening.enter_async_context(open_tools(settings))
        if tools.site is None:
            raise SettingsError(NOT_SET)
        others = [
            (await opening.enter_async_context(open_tools(each.settings))).breaker for each in also
        ]
        await asyncio.gather(*(each.refresh() for each in (tools.breaker, *others)))
        if also:
            say(f"The app's other pipelines stop, too: {', '.join(each.name for each in also)}")

        async def act(stopping: Stopping) -> None:
            result.plan = await _plan(rewind, wanted)
            await rewind.run(result.plan.steps, record=result.record, stopping=stopping)

        def interrupt(name: str) -> None:
            restart.interrupt(name)
            say(SAY_RESTART)

        restart = Restart(
            tools.site,
            tools.breaker,
            by=wanted.by,
            reason="rewind",
            owned_seconds=lambda: rewind.owned_seconds(partitions),
            show=bars,
            others=others,
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
