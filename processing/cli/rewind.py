"""`python -m processing rewind`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from processing.cli.output import printable, table
from processing.operations import open_rewind
from processing.partitions.rewind_plan import RewindPlan


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
    """Rewind partitions, or print the plan of a dry run.

    Returns:
        0; 1 if a partition is left as it is, because it cannot be rewound.
    """
    partitions = None if arguments.all else [arguments.partition]
    async with open_rewind(settings) as rewind:
        if arguments.to_mark:
            plan = await rewind.plan_to_marks(partitions, force=arguments.force)
        else:
            plan = await rewind.plan(partitions, arguments.to)
        if not arguments.dry_run:
            await rewind.run(plan.steps, force=arguments.force)
    print(_plan_text(plan))
    if arguments.dry_run:
        print("Nothing was changed (--dry-run)")
    else:
        print(f"Rewound {_partitions(len(plan.steps))}; start the app to process the events again.")
    return 1 if plan.left_out else 0


def _plan_text(plan: RewindPlan) -> str:
    rows = [
        (step.partition, "-" if step.before is None else step.before, step.first, step.events)
        for step in plan.steps
    ]
    lines = [table(("partition", "old checkpoint", "restart at", "events to repeat"), rows)]
    for step in plan.steps:
        lines += [f"Partition {step.partition}: {printable(each.text)}." for each in step.warnings]
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


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a sequence number (0 or more)")
    return int(text)
