"""`breakwater redrive`."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractContextManager
from dataclasses import asdict

import click

from breaker.configuration.command_line import json_option
from breaker.configuration.pipeline_option import OPTION, on_one_pipeline
from breaker.configuration.pipelines import Pipeline
from processing.cli.moved import say_moved
from processing.cli.options import command, one_of
from processing.cli.output import EXAMPLE_IDS, Bar, show_key, show_list, table
from processing.cli.signals import calling_on_signals, say
from processing.errors import ProcessingError
from processing.operations import open_parking, open_redrive
from processing.parking.event import Lone, event_key
from processing.poison.other_apps import left_alone
from processing.redrive.redrive import Redrive
from processing.redrive.run_store import RunningRedrive
from processing.redrive.runs import operator_name
from processing.redrive.selection import Place, Plan, Selection, id_at
from processing.redrive.summary import RedriveSummary

SHOWN_FAILURES = 20
INTERRUPTED = "interrupted"
LEFT_ALONE = (
    "Left alone: {}, which the app replays by itself; see `parked list`, and name a key with --key "
    "to replay it now"
)

HELD = (
    "Received by another program: {}; `poison list` shows who redrives. They are visible again "
    "when that program has finished, or 2 minutes after it has ended early"
)

LOST = (
    "Body lost: {} cannot be replayed; restore the blob that the error names, or discard the event "
    "with `poison discard`"
)


@click.command(short_help="Replay poisoned events, and events parked behind them.")
@on_one_pipeline
@click.option(
    "--key", metavar="KEY", help="Replay only events of this key, also if the key is deferred."
)
@click.option(
    "--id",
    "event_id",
    metavar="ID",
    help="Replay one poisoned event, or the events without a key that begin with this one: its "
    f"id, such as {EXAMPLE_IDS}.",
)
@click.option(
    "--all",
    "replays_all",
    is_flag=True,
    help="Replay all events, except deferred ones (default without --key and --id).",
)
@click.option("--dry-run", is_flag=True, help="Show the events, but replay nothing.")
@json_option
@command
async def redrive(
    pipeline: Pipeline,
    *,
    key: str | None,
    event_id: str | None,
    replays_all: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Replay poisoned events, and the events parked behind them, through the handler.

    Deferred keys are left alone unless --key or --id names one. The exit code is 1 if an event is
    not handled, or if no event of the pipeline has the named key or id.
    """
    one_of(required=False, key=key is not None, id=event_id is not None, all=replays_all)
    values = pipeline.settings
    selection = Selection(key=key, id=event_id)
    async with open_redrive(values) as redrive:
        if dry_run:
            plan = await redrive.plan(selection)
            print(_plan_json(plan) if as_json else _plan(plan))
            async with open_parking(values) as lists:
                await say_moved(lists)
            if not plan.events:
                _check_found(pipeline, selection)
            return 0
        run = RunningRedrive(operator_name(), key=key, id=event_id)
        bar = Bar("tried", quiet=as_json)
        try:
            async with redrive.shown(run) as shown:

                def progress(done: int, total: int) -> None:
                    bar(done, total)
                    shown.progress(done, total, redrive.failed)

                with _stopping(redrive):
                    summary = await redrive.run(selection, progress)
        finally:
            bar.close()
    print(json.dumps(asdict(summary)) if as_json else summary_text(summary))
    if summary.stopped == INTERRUPTED:
        return 130
    if summary.found_nothing:
        _check_found(pipeline, selection)
    return 0 if summary.complete else 1


def _check_found(pipeline: Pipeline, selection: Selection) -> None:
    """Refuse a name that no event has: it may be misspelled, or of another pipeline.

    Raises:
        ProcessingError: the selection names a key or an event.
    """
    if not selection.is_named:
        return
    named = f"key {selection.key!r}" if selection.id is None else f"id {selection.id!r}"
    chosen = f" {OPTION} {pipeline.name}" if pipeline.declared else ""
    raise ProcessingError(
        f"no poisoned, parked or deferred event has the {named}; nothing was replayed. "
        f"`poison list{chosen}` and `parked list{chosen}` show the events that wait"
    )


def _stopping(redrive: Redrive) -> AbstractContextManager[None]:
    """Let events in flight finish on the first Ctrl-C or SIGTERM; cancel them on the second."""
    task = asyncio.current_task()
    is_stopping = False

    def interrupt(_name: str) -> None:
        nonlocal is_stopping
        if is_stopping and task is not None:
            task.cancel()
            say("Cancelling the events in flight")
            return
        is_stopping = True
        redrive.stop(INTERRUPTED)
        say("Waiting for the events in flight; press Ctrl-C again to cancel them")

    return calling_on_signals(interrupt)


def _plan(plan: Plan) -> str:
    rows: list[tuple[object, ...]] = [
        (message.id, show_key(message.key), message.redrives, message.error.message)
        for message in plan.messages
    ]
    lines = [table(("poison message", "key", "redrives", "error"), rows)] if rows else []
    for name, places in (("parked key", plan.parked), ("deferred key", plan.deferred)):
        if places:
            lines.append(table(("partition", name, "events"), _places(places)))
    lines.append(f"{plan.events:,} {'event' if plan.events == 1 else 'events'} would be replayed")
    if plan.left_alone:
        left = _places(plan.left_alone)
        lines.append(table(("partition", "deferred key, left alone", "events"), left))
        lines.append(LEFT_ALONE.format(_count(len(left), "deferred key")))
    lines += filter(None, [left_alone(plan.other_apps)])
    return "\n\n".join(lines)


def _plan_json(plan: Plan) -> str:
    return json.dumps(
        {
            "events": plan.events,
            "messages": [message.id for message in plan.messages],
            "parked": _places_json(plan.parked),
            "deferred": _places_json(plan.deferred),
            "left_alone": _places_json(plan.left_alone),
            "other_apps": dict(plan.other_apps),
        }
    )


def _places(places: dict[Place, int]) -> list[tuple[object, ...]]:
    return [
        (source.partition, show_list(source, key), count) for (source, key), count in places.items()
    ]


def _places_json(places: dict[Place, int]) -> list[dict[str, object]]:
    return [
        {
            "source": str(source),
            "key": event_key(key),
            "event": id_at(source, key.position) if isinstance(key, Lone) else None,
            "entries": count,
        }
        for (source, key), count in places.items()
    ]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def summary_text(summary: RedriveSummary) -> str:
    """Return the summary as text."""
    lines = [
        f"{summary.replayed:,} replayed, {len(summary.failed):,} failed again, "
        f"{summary.left:,} not tried; {summary.released:,} keys no longer wait; "
        f"{summary.seconds:.1f} s"
    ]
    if summary.stale:
        lines.append(f"{summary.stale:,} copies of already replayed messages were removed")
    if summary.busy:
        lines.append(
            f"Skipped: {_count(summary.busy, 'key')}, because another redrive or the app replays "
            "them, or another reader holds their messages; repeat the redrive later"
        )
    if summary.held_elsewhere:
        lines.append(HELD.format(_count(summary.held_elsewhere, "message")))
    if summary.deferred:
        lines.append(LEFT_ALONE.format(_count(summary.deferred, "deferred key")))
    lines += filter(None, [left_alone(summary.other_apps)])
    if summary.lost:
        lines.append(LOST.format(_count(summary.lost, "event")))
    if summary.stopped:
        lines.append(f"Stopped: {summary.stopped}")
    for heading, failures in (
        ("failed again", summary.failed),
        ("still deferred", summary.still_deferred),
    ):
        if not failures:
            continue
        rows = [
            (failure.id, show_key(failure.key), failure.type, failure.message)
            for failure in failures[:SHOWN_FAILURES]
        ]
        lines.append(table((heading, "key", "error", "message"), rows))
        if (more := len(failures) - SHOWN_FAILURES) > 0:
            lines.append(f"and {more:,} more")
    return "\n".join(lines)
