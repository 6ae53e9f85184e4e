"""`breakwater poison discard`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from breaker.configuration.command_line import json_option, say_error
from breaker.configuration.pipeline_option import on_one_pipeline
from breaker.configuration.pipelines import Pipeline
from processing.cli.options import by_option, command, reason_option
from processing.cli.output import Bar, show_key
from processing.cli.redrive import summary_text
from processing.operations import open_poison, open_redrive
from processing.redrive.discard import Discard
from processing.redrive.run_store import RunningRedrive
from processing.redrive.selection import Selection


@click.command(short_help="Discard a poisoned event, on record.")
@click.argument("event_id", metavar="ID")
@on_one_pipeline
@reason_option("the record", required=True)
@by_option("the record")
@json_option
@command
async def discard(pipeline: Pipeline, *, event_id: str, reason: str, by: str, as_json: bool) -> int:
    """Discard a poisoned event, write a record, and replay the events parked behind it.

    ID is the id of the event, or the end of the id after a '/'. The exit code is 1 if the event is
    not discarded, or an event behind it is not handled.
    """
    values = pipeline.settings
    async with open_poison(values) as storage:
        decision = await Discard.decide(
            *(storage.reader, storage.claims, event_id),
            own=storage.own,
            by=by,
            reason=reason,
            index=storage.index,
        )
    message = decision.message
    bar = Bar("replayed", quiet=as_json)
    async with open_redrive(values, discard=decision) as redrive:
        run = RunningRedrive(by, id=message.id, discards=True)
        try:
            async with redrive.shown(run) as shown:

                def progress(done: int, total: int) -> None:
                    bar(done, total)
                    shown.progress(done, total, redrive.failed)

                summary = await redrive.run(Selection(id=message.id), progress)
        finally:
            bar.close()
    if as_json:
        document = {
            "id": message.id,
            "discarded": decision.recorded,
            "record": decision.blob if decision.recorded else None,
            "body_lost": decision.body_lost_reason or None,
            "summary": asdict(summary),
        }
        print(json.dumps(document))
    if not decision.recorded:
        say_error(f"{message.id} was not discarded; the summary says why")
        say_error(summary_text(summary))
        return 1
    if as_json:
        return 0 if summary.complete else 1
    behind = summary.replayed - 1
    print(
        f"Discarded: {message.id} of key {show_key(message.key)}; record: {decision.blob}; "
        f"events behind it replayed: {behind:,}"
    )
    if decision.body_lost_reason:
        reason = decision.body_lost_reason
        print(f"The record of the event has no body, because the body was lost: {reason}")
    if not summary.complete:
        print(summary_text(summary))
    return 0 if summary.complete else 1
