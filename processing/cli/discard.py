"""`python -m processing poison discard`."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Mapping

from processing.cli.output import Bar, show_key
from processing.cli.redrive import summary_text
from processing.operations import open_poison, open_redrive
from processing.redrive.discard import Discard
from processing.redrive.selection import Selection


def add(acts: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    """Add the command to those of the poison queue."""
    command = acts.add_parser(
        "discard",
        parents=[common],
        help="give up a poisoned event, on record, and replay what is parked behind it",
    )
    command.add_argument("id", metavar="ID", help="its id, or the end of it after a '/'")
    command.add_argument("--reason", required=True, metavar="TEXT", help="why, for the record")
    command.add_argument("--by", default=_user(), metavar="NAME", help="for the record (you)")
    command.set_defaults(run=run)


async def run(settings: Mapping[str, str], arguments: argparse.Namespace) -> int:
    """Discard; 0: the event is, and everything behind it is handled; 1: not everything."""
    async with open_poison(settings) as storage:
        decision = await Discard.decide(
            *(storage.reader, storage.claims, arguments.id),
            by=arguments.by,
            reason=arguments.reason,
        )
    message = decision.message
    bar = Bar("replayed")
    async with open_redrive(settings, discard=decision) as redrive:
        try:
            summary = await redrive.run(Selection(id=message.id), bar)
        finally:
            bar.close()
    if not decision.recorded:
        print(f"processing: {message.id} is not discarded", file=sys.stderr)
        print(summary_text(summary), file=sys.stderr)
        return 1
    behind = summary.replayed - 1
    print(
        f"Discarded: {message.id} of key {show_key(message.key)}; on record as {decision.blob}; "
        f"events behind it replayed: {behind:,}"
    )
    if decision.lost:
        print(f"The record does not have its body: {decision.lost}")
    if not summary.complete:
        print(summary_text(summary))
    return 0 if summary.complete else 1


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"
