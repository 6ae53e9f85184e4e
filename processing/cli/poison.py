"""`python -m processing poison list|show|discard`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from processing.cli import discard, poison_list
from processing.cli.output import EXAMPLE_IDS
from processing.cli.poison_list import fields_of
from processing.formats import json_text
from processing.operations import open_poison
from processing.poison.claim_checks import BodyState, first_with_body
from processing.poison.finding import find_copies
from processing.poison.message import PoisonMessage
from processing.poison.other_apps import is_own


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    """Add the command `poison`."""
    poison = commands.add_parser(
        "poison", help="list, show or discard messages of the poison queue"
    )
    acts = poison.add_subparsers(dest="act", required=True)
    poison_list.add(acts, common)
    show = acts.add_parser("show", parents=[common], help="print one complete message as JSON")
    show.add_argument(
        "id",
        metavar="ID",
        help=f"id of the event, such as {EXAMPLE_IDS}",
    )
    show.add_argument(
        "--body", type=Path, metavar="FILE", help="write the event's body to FILE, byte for byte"
    )
    show.set_defaults(run=run_show)
    discard.add(acts, common)


async def run_show(settings: Mapping[str, str], arguments: argparse.Namespace) -> int:
    """Print one complete message, or write its body to a file.

    Returns:
        0, or 1 if the body is lost or stored by another app.
    """
    async with open_poison(settings) as storage:
        copies = await find_copies(
            *(storage.reader, arguments.id, storage.own), index=storage.index, to_read=True
        )
        message = copies[0]
        if not is_own(message, storage.own):
            print(f"processing: {_whose(message)}", file=sys.stderr)
            if message.claim_check is not None:
                without_body = {"body": None, "body_state": BodyState.OTHER_APP}
                print(json_text.dumps(message.to_dict() | without_body, indent=2))
                return 1
        message, lost = await first_with_body(copies, storage.claims)
        if lost is not None:
            without_body = {"body": None, "body_state": BodyState.LOST}
            print(json_text.dumps(message.to_dict() | without_body, indent=2))
            print(f"processing: the body of {message.id} is lost: {lost}", file=sys.stderr)
            return 1
    if arguments.body is None:
        print(json_text.dumps(message.to_dict(), indent=2))
        return 0
    payload = message.payload
    arguments.body.write_bytes(payload)
    print(json_text.dumps(fields_of(message), indent=2))
    print(f"{len(payload):,} bytes written to {arguments.body}", file=sys.stderr)
    return 0


def _whose(message: PoisonMessage) -> str:
    text = f"{message.id} belongs to another app, {message.source.identity.app}"
    if message.claim_check is None:
        return text
    return f"{text}, which stores the body; show it with the settings of that app"
