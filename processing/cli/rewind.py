"""`python -m processing rewind`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from processing.cli.output import table
from processing.operations import open_rewind


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    """Add the command."""
    command = commands.add_parser(
        "rewind",
        parents=[common],
        help="process events again, on purpose, from a sequence number on; the app must be stopped",
    )
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--partition", metavar="P", help="this partition")
    which.add_argument("--all", action="store_true", help="all partitions (with --to-start)")
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument("--to", type=_number, metavar="SEQ", help="the first event to process again")
    where.add_argument("--to-start", action="store_true", help="everything that the hub keeps")
    command.add_argument("--dry-run", action="store_true", help="show what would be done")
    command.add_argument(
        "--force", action="store_true", help="although the app owned partitions a moment ago"
    )
    command.set_defaults(run=run, check=_check)


async def run(settings: Mapping[str, str], arguments: argparse.Namespace) -> int:
    """Rewind."""
    partitions = None if arguments.all else [arguments.partition]
    async with open_rewind(settings) as rewind:
        steps = await rewind.plan(partitions, arguments.to)
        if not arguments.dry_run:
            await rewind.run(steps, force=arguments.force)
    rows = [
        (step.partition, "-" if step.before is None else step.before, step.first, step.events)
        for step in steps
    ]
    headings = ("partition", "checkpoint was", "goes on with", "events again")
    print(table(headings, rows))
    if arguments.dry_run:
        print("Nothing was changed (--dry-run)")
    return 0


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.all and arguments.to is not None:
        parser.error(
            "--all takes --to-start: a sequence number means another event in each partition"
        )


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a sequence number (0 or more)")
    return int(text)
