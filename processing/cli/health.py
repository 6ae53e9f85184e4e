"""`breakwater health`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from breaker import StoreUnavailableError
from breaker.cli.lines import dependency_lines
from breaker.cli.lines import table as circuit_table
from breaker.configuration.command_line import NOT_HEALTHY, json_option
from breaker.configuration.pipeline_option import choice, on_all_pipelines, show_each
from breaker.configuration.pipelines import Pipeline
from processing.cli.app import statement_line
from processing.cli.fleet import FleetHealth, open_fleet
from processing.cli.options import CODES, command
from processing.cli.output import printable
from processing.errors import StorageUnavailableError
from processing.formats import json_text
from processing.monitoring.partition_state import State

UNKNOWN = {"status": "unknown", "is_healthy": False, "problems": ["the health is not known"]}
"""The health of one of several pipelines that cannot be read; standard error has the reason."""


@click.command(short_help="Show whether the app is healthy, and why not.")
@on_all_pipelines
@json_option
@command
async def health(pipelines: Sequence[Pipeline], *, as_json: bool) -> int:
    """Show whether the app is healthy, and why not.

    The command reads Redis, the hub, the poison queue, the blobs and the app's state; it works
    without an instance. The exit code is 3 if a partition is stalled, a service cannot be reached,
    the app's own circuit is not closed, no instance polls the circuit, or the app is stopped. An
    open circuit of a dependency holds only the keys that need the dependency, so the exit code
    stays 0. A circuit that no instance has registered is refused, with exit code 1. Several
    pipelines are shown one after another; the exit code is the greatest of theirs.
    """
    documents: dict[str, dict[str, Any]] = {}

    async def show(pipeline: Pipeline) -> int:
        documents[pipeline.name] = UNKNOWN
        lines, documents[pipeline.name] = await _read(pipeline)
        if not as_json:
            print("\n".join(lines))
        return 0 if documents[pipeline.name]["is_healthy"] else NOT_HEALTHY

    code = await show_each(pipelines, show, codes=CODES, headings=not as_json)
    if as_json:
        print(
            json_text.dumps(_all(documents) if len(pipelines) > 1 else documents[pipelines[0].name])
        )
    return code


async def _read(pipeline: Pipeline) -> tuple[list[str], dict[str, Any]]:
    """Return the health of a pipeline as lines and as JSON."""
    try:
        async with open_fleet(pipeline.settings) as found:
            return _lines(found, choice(pipeline)), _document(found)
    except (StoreUnavailableError, StorageUnavailableError) as error:  # nothing else can be shown
        lines = [_headline("degraded", is_healthy=False), "", *_section("problems:", [str(error)])]
        return lines, {"status": "degraded", "is_healthy": False, "problems": [str(error)]}


def _all(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the health of an app with several pipelines as JSON."""
    return {
        "is_healthy": all(each["is_healthy"] for each in documents.values()),
        "problems": [
            f"pipeline {name}: {problem}"
            for name, each in documents.items()
            for problem in each["problems"]
        ],
        "pipelines": documents,
    }


def _headline(status: str, *, is_healthy: bool) -> str:
    return f"{'health':<10} {'healthy' if is_healthy else 'not healthy'} ({status})"


def _section(heading: str, texts: Iterable[str]) -> list[str]:
    return [heading, *(f"  {printable(text)}" for text in texts)]


def _lines(found: FleetHealth, chosen: str) -> list[str]:
    report = found.report
    lines = [_headline(found.status, is_healthy=not found.problems)]
    lines += [circuit_table(found.breaker, found.registration, chosen=chosen)]
    lines.append(f"{'events':<10} {_events(found)}")
    lines += dependency_lines(found.dependencies, chosen=chosen)
    if shown := found.lines:
        lines += ["", *(statement_line(line) for line in shown)]
    waiting = [each.line for each in report.states if each.state is not State.STALLED]
    for heading, texts in (
        ("problems:", found.problems),
        ("partitions that wait:", waiting),
        ("notes:", found.notes),
        ("redrives:", report.redrives),
    ):
        if texts:
            lines += ["", *_section(heading, texts)]
    return lines


def _events(found: FleetHealth) -> str:
    lags = found.report.partitions
    if not lags:
        return "not known"
    counts = [
        f"lag {sum(each.lag for each in lags):,} in {len(lags)} partitions",
        f"{sum(each.parked for each in lags):,} parked",
        f"{sum(each.deferred for each in lags):,} deferred keys",
    ]
    if found.poison is not None:
        counts.append(f"{found.poison.own:,} poison messages")
    return "; ".join(counts)


def _document(found: FleetHealth) -> dict[str, Any]:
    registration, poison = found.registration, found.poison
    return found.report.to_json() | {
        "status": found.status,
        "is_healthy": not found.problems,
        "problems": list(found.problems),
        "notes": list(found.notes),
        "instances": None if registration is None else [each.name for each in registration.alive],
        "poison": None if poison is None else poison.own,
        "app": [asdict(line) for line in found.lines],
    }
