"""`breakwater partitions`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import click

from breaker.configuration.command_line import json_option, say_error
from breaker.configuration.pipeline_option import on_all_pipelines, show_each
from breaker.configuration.pipelines import Pipeline
from processing.cli.options import CODES, command
from processing.cli.output import printable, table
from processing.monitoring.expired import expired_lately, expired_problems
from processing.monitoring.reasons import Why, todo
from processing.monitoring.verdicts import recreated_reason
from processing.operations import open_lag
from processing.partitions.lag import PartitionLag

HEADINGS = (
    *("partition", "watermark", "last in hub", "lag", "parked", "deferred keys"),
    *("expired in 24 h", "hub"),
)


@click.command(short_help="List the partitions: lag, parked and expired events.")
@on_all_pipelines
@json_option
@command
async def partitions(pipelines: Sequence[Pipeline], *, as_json: bool) -> int:
    """List the partitions: lag, parked events, expired events, a recreated hub.

    The exit code is 1 if the hub was recreated and a partition must be rewound, or if a partition
    cannot be read. Several pipelines are shown one after another; each JSON object then names its
    pipeline.
    """

    async def show(pipeline: Pipeline) -> int:
        named = {"pipeline": pipeline.name} if len(pipelines) > 1 else {}
        return await _show(pipeline, named, as_json=as_json)

    return await show_each(pipelines, show, codes=CODES, headings=not as_json)


async def _show(pipeline: Pipeline, named: Mapping[str, str], *, as_json: bool) -> int:
    async with open_lag(pipeline.settings) as opened:
        reading = await opened.reader.read()
        hub, lags = opened.hub, reading.partitions
    now_ms = time.time_ns() // 1_000_000
    if as_json:
        for each in lags:
            gaps = [asdict(gap) | {"events": gap.events} for gap in each.gaps]
            print(json.dumps({**named, **asdict(each), "gaps": gaps}))
    else:
        print(table(HEADINGS, [_row(each, now_ms) for each in lags]))
        for text in _notes(hub, lags, now_ms):
            print(printable(text))
    for problem in reading.problems:
        say_error(printable(problem))
    return 1 if reading.unread or any(each.recreated for each in lags) else 0


def _row(lag: PartitionLag, now_ms: int) -> tuple[object, ...]:
    return (
        lag.partition,
        "-" if lag.watermark is None else lag.watermark,
        "-" if lag.last_enqueued is None else lag.last_enqueued,
        lag.lag,
        lag.parked,
        lag.deferred,
        expired_lately(lag, now_ms),
        "recreated" if lag.recreated else "",
    )


def _notes(hub: str, lags: Sequence[PartitionLag], now_ms: int) -> list[str]:
    recreated = [
        f"Partition {each.partition}: {recreated_reason(each)}. "
        f"{todo(Why.RECREATED, each.partition)}"
        for each in lags
        if each.recreated
    ]
    expired = [f"{text[0].upper()}{text[1:]}." for text in expired_problems(hub, lags, now_ms)]
    return [*recreated, *expired]
