"""`python -m processing poison discard`."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Mapping

from processing.cli.output import EXAMPLE_IDS, Bar, show_key
from processing.cli.redrive import summary_text
from processing.operations import open_poison, open_redrive
from processing.redrive.discard import Discard
from processing.redrive.run_store import RunningRedrive
from processing.redrive.selection import Selection


def add(acts: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    """Add `discard` to the commands of `poison`."""
    command = acts.add_parser(
        "discard",
        parents=[common],
        help="discard a poisoned event, write a record, and replay the events parked behind it",
    )
    command.add_argument(
        "id",
        metavar="ID",
        help=f"id of the event, such as {EXAMPLE_IDS}",
    )
    command.add_argument(
        "--reason", required=True, metavar="TEXT", help="reason to write into the record"
    )
    command.add_argument(
        "--by",
        default=_user(),
        metavar="NAME",
        help="name to write into the record (default: your user name)",
    )
    command.set_defaults(run=run)


async def run(settings: Mapping[str, str], arguments: argparse.Namespace) -> int:
    """Discard an event and replay the events behind it.

    Returns:
        0 if the event is discarded and every event behind it is handled, else 1.
    """
    async with open_poison(settings) as storage:
        decision = await Discard.decide(
            *(storage.reader, storage.claims, arguments.id),
            own=storage.own,
            by=arguments.by,
            reason=arguments.reason,
            index=storage.index,
        )
    message = decision.message
    bar = Bar("replayed")
    async with open_redrive(settings, discard=decision) as redrive:
        run = RunningRedrive(arguments.by, id=message.id, discards=True)
        try:
            async with redrive.shown(run) as shown:

                def progress(done: int, total: int) -> None:
                    bar(done, total)
                    shown.progress(done, total, redrive.failed)

                summary = await redrive.run(Selection(id=message.id), progress)
        finally:
            bar.close()
    if not decision.recorded:
        print(f"processing: {message.id} was not discarded; the summary says why", file=sys.stderr)
        print(summary_text(summary), file=sys.stderr)
        return 1
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


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"
