"""`breakwater migrate`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from breaker.configuration.command_line import json_option, settings_option
from breaker.configuration.local_settings import read_settings
from processing.cli.options import command
from processing.cli.output import table
from processing.operations import open_migration


@click.command(short_help="Take over data in Redis of version 0.1.")
@settings_option
@json_option
@command
async def migrate(settings: Path | None, *, as_json: bool) -> int:
    """Take over data in Redis that version 0.1 wrote; the app does this once by itself."""
    async with open_migration(read_settings(settings)) as migration:
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
    if as_json:
        names = ("partition", "watermark", "finished", "parked_keys", "parked_events")
        for row in rows:
            print(json.dumps(dict(zip(names, row, strict=True))))
        return 0
    headings = ("partition", "watermark", "finished above it", "parked keys", "parked events")
    print(table(headings, rows) if rows else "No data of version 0.1")
    return 0
