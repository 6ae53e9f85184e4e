"""`breakwater migrate`."""

from __future__ import annotations

import json

import click

from breaker.configuration.command_line import json_option
from breaker.configuration.pipeline_option import on_one_pipeline
from breaker.configuration.pipelines import Pipeline
from processing.cli.options import command
from processing.cli.output import table
from processing.operations import open_migration


@click.command(short_help="Take over data in Redis of version 0.1.")
@on_one_pipeline
@json_option
@command
async def migrate(pipeline: Pipeline, *, as_json: bool) -> int:
    """Take over data in Redis that version 0.1 wrote; the app does this once by itself."""
    async with open_migration(pipeline.settings) as migration:
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
