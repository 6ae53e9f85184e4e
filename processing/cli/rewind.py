"""`python -m processing rewind`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from processing.cli.output import table
from processing.operations import open_rewind


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    """Add the command `rewind`."""
    command = commands.add_parser(
        "rewind",
        parents=[common],
        help="process events again from a sequence number onwards; stop the app first",
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
        "--force",
        action="store_true",
        help="rewind although the app seems to own a partition, or although Redis has lost no "
        "parked events; use it only if the app is certainly stopped",
    )
    command.set_defaults(run=run, check=_check)


async def run(settings: Mapping[str, str], arguments: argparse.Namespace) -> int:
    """Rewind partitions, or print the plan of a dry run; return 0."""
    partitions = None if arguments.all else [arguments.partition]
    async with open_rewind(settings) as rewind:
        if arguments.to_mark:
            steps = await rewind.plan_to_marks(partitions, force=arguments.force)
        else:
            steps = await rewind.plan(partitions, arguments.to)
        if not arguments.dry_run:
            await rewind.run(steps, force=arguments.force)
    rows = [
        (step.partition, "-" if step.before is None else step.before, step.first, step.events)
        for step in steps
    ]
    headings = ("partition", "old checkpoint", "restart at", "events to repeat")
    print(table(headings, rows))
    for step in steps:
        if step.note:
            print(f"Partition {step.partition}: {step.note}.")
    if arguments.dry_run:
        print("Nothing was changed (--dry-run)")
    else:
        partitions_text = "1 partition" if len(steps) == 1 else f"{len(steps)} partitions"
        print(f"Rewound {partitions_text}; start the app to process the events again.")
    return 0


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.all and arguments.to is not None:
        parser.error(
            "--all takes --to-start or --to-mark, not --to: each partition has its own sequence "
            "numbers"
        )


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a sequence number (0 or more)")
    return int(text)
