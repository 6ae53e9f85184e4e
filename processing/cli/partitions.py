"""`python -m processing partitions`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict

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


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    """Add the command `partitions`."""
    command = commands.add_parser(
        "partitions",
        parents=[common],
        help="list the partitions: lag, parked events, expired events, a recreated hub",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object per line")
    command.set_defaults(run=run)


async def run(settings: Mapping[str, str], arguments: argparse.Namespace) -> int:
    """Print the partitions.

    Returns:
        0; 1 if the hub was recreated and a partition must be rewound, or a partition is unread.
    """
    async with open_lag(settings) as opened:
        reading = await opened.reader.read()
        hub, lags = opened.hub, reading.partitions
    now_ms = time.time_ns() // 1_000_000
    if arguments.json:
        for each in lags:
            gaps = [asdict(gap) | {"events": gap.events} for gap in each.gaps]
            print(json.dumps(asdict(each) | {"gaps": gaps}))
    else:
        print(table(HEADINGS, [_row(each, now_ms) for each in lags]))
        for text in _notes(hub, lags, now_ms):
            print(printable(text))
    for problem in reading.problems:
        print(f"processing: {printable(problem)}", file=sys.stderr)
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
