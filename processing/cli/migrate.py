"""`python -m processing migrate`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from processing.cli.output import table
from processing.operations import open_migration


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    """Add the command `migrate`."""
    command = commands.add_parser(
        "migrate",
        parents=[common],
        help="take over data in Redis that version 0.1 wrote; the app does this once by itself",
    )
    command.set_defaults(run=run)


async def run(settings: Mapping[str, str], _: argparse.Namespace) -> int:
    """Migrate the data of version 0.1, and print what was migrated; return 0."""
    async with open_migration(settings) as migration:
        done = await migration.run()
    rows = [
        (
            each.source.partition,
            "-" if each.watermark is None else each.watermark.sequence_number,
            each.finished,
            each.keys,
            each.entries,
        )
        for each in done
    ]
    headings = ("partition", "watermark", "finished above it", "parked keys", "parked events")
    print(table(headings, rows) if rows else "No data of version 0.1")
    return 0
