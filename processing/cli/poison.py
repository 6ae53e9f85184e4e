"""`breakwater poison list|show|discard`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from breaker.configuration.command_line import CommandGroup, say_error
from breaker.configuration.pipeline_option import OPTION, on_one_pipeline
from breaker.configuration.pipelines import Pipeline
from processing.cli.discard import discard
from processing.cli.options import command
from processing.cli.poison_list import fields_of, list_messages
from processing.formats import json_text
from processing.identity import PIPELINE
from processing.operations import open_poison
from processing.poison.claim_checks import BodyState, first_with_body
from processing.poison.finding import find_copies
from processing.poison.message import PoisonMessage
from processing.poison.other_apps import is_own
from processing.testing.as_test import source_of


@click.command(short_help="Print one complete message as JSON.")
@click.argument("event_id", metavar="ID")
@on_one_pipeline
@click.option(
    "--body",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the event's body to FILE, byte for byte.",
)
@click.option(
    "--as-test",
    is_flag=True,
    help="Print a test in Python that fails as the event did; it contains the event's data.",
)
@click.option("--json", is_flag=True, expose_value=False, help="Print JSON, as without it.")
@command
async def show(pipeline: Pipeline, *, event_id: str, body: Path | None, as_test: bool) -> int:
    """Print one complete message as JSON or as a test, or write its body to a file.

    ID is the id of the event, or the end of the id after a '/'. The exit code is 1 if the body is
    lost, or stored by another app.
    """
    if as_test and body is not None:
        raise click.UsageError("--as-test and --body exclude each other; the test has the body")
    async with open_poison(pipeline.settings) as storage:
        copies = await find_copies(
            *(storage.reader, event_id, storage.own), index=storage.index, to_read=True
        )
        message = copies[0]
        if not is_own(message, storage.own):
            say_error(_whose(message))
            if message.claim_check is not None:
                without_body = {"body": None, "body_state": BodyState.OTHER_APP}
                print(json_text.dumps(message.to_dict() | without_body, indent=2))
                return 1
        message, lost = await first_with_body(copies, storage.claims)
        if lost is not None:
            without_body = {"body": None, "body_state": BodyState.LOST}
            print(json_text.dumps(message.to_dict() | without_body, indent=2))
            say_error(f"the body of {message.id} is lost: {lost}")
            return 1
    if as_test:
        print(source_of(message), end="")
        return 0
    if body is None:
        print(json_text.dumps(message.to_dict(), indent=2))
        return 0
    payload = message.payload
    await asyncio.to_thread(body.write_bytes, payload)
    print(json_text.dumps(fields_of(message), indent=2))
    print(f"{len(payload):,} bytes written to {body}", file=sys.stderr)
    return 0


def _whose(message: PoisonMessage) -> str:
    text = f"{message.id} belongs to another app, {message.source.identity.app}"
    if message.claim_check is None:
        return text
    return f"{text}, which stores the body; show it with the settings of that app{_choose(message)}"


def _choose(message: PoisonMessage) -> str:
    pipeline = message.source.identity.pipeline
    return "" if pipeline == PIPELINE else f" and {OPTION} {pipeline}"


poison = CommandGroup(
    "poison",
    commands=[list_messages, show, discard],
    short_help="List, show or discard messages of the poison queue.",
    help="List, show or discard messages of the poison queue.",
)
