"""`breakwater stop|start`, and `python -m processing app status|stop|start`."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass

import click

from breaker import Circuit, CircuitBreaker, CircuitState
from breaker.chain import StepKind
from breaker.configuration.command_line import (
    CommandGroup,
    confirmed,
    json_option,
    say_error,
    yes_option,
)
from breaker.configuration.pipeline_option import on_all_pipelines, on_whole_app, show_each
from breaker.configuration.pipelines import Pipeline
from processing.circuit_wiring import CircuitWiring, without_judging
from processing.cli.options import CODES, by_option, command, reason_option
from processing.cli.output import printable
from processing.errors import SettingsError
from processing.site.acts import act
from processing.site.client import Site
from processing.site.settings import NOT_SET
from processing.site.statement import RUN_START, Level, Line, statement
from processing.site.watch import SiteWatch, held_by

_MARKS = {Level.OK: " ", Level.NOTE: " ", Level.WARNING: "!"}
_HOLDING = frozenset({CircuitState.OPEN, CircuitState.ISOLATED})


@dataclass(frozen=True, slots=True)
class Tools:
    """The objects that the commands use."""

    breaker: CircuitBreaker
    site: Site | None
    watch: SiteWatch


@click.command("status", short_help="Print what was seen of the app, its stop and its start.")
@on_all_pipelines
@json_option
@command
async def app_status(pipelines: Sequence[Pipeline], *, as_json: bool) -> int:
    """Print what was seen of the app, its stop and its start.

    The exit code is 1 if the app's state or the record cannot be read. Several pipelines are shown
    one after another; each JSON object then names its pipeline.
    """

    async def show(pipeline: Pipeline) -> int:
        named = {"pipeline": pipeline.name} if len(pipelines) > 1 else {}
        return await _show_status(pipeline, named, as_json=as_json)

    return await show_each(pipelines, show, codes=CODES, headings=not as_json)


async def _show_status(pipeline: Pipeline, named: Mapping[str, str], *, as_json: bool) -> int:
    async with open_tools(pipeline.settings) as tools:
        circuit = await tools.breaker.refresh()
        await tools.watch.read_state(attempts=2)
        seen = await tools.watch.look()
    lines = statement(seen)
    if as_json:
        site = seen.site
        document = {
            **named,
            "circuit": circuit.name,
            "circuit_state": circuit.state,
            "generation": circuit.generation,
            "app_state": site.state if site is not None and not site.error else None,
            "seen_at": site.read_at if site is not None else None,
            "lines": [asdict(line) for line in lines],
        }
        print(json.dumps(document))
    else:
        for line in lines:
            print(statement_line(line))
    unknown = seen.chain is None or (seen.site is not None and bool(seen.site.error))
    return 1 if unknown else 0


@click.command(short_help="Ask Azure to stop the app.")
@on_whole_app
@by_option("the circuit's history")
@reason_option("the circuit's history", required=False)
@yes_option
@json_option
@command
async def stop(
    pipelines: Sequence[Pipeline], *, by: str, reason: str, yes: bool, as_json: bool
) -> int:
    """Ask Azure to stop the app, with all its pipelines; the circuits stay as they are.

    The exit code is 1 if Azure refuses or does not answer.
    """
    return await _act(StepKind.STOP, pipelines, by=by, reason=reason, yes=yes, as_json=as_json)


@click.command(short_help="Ask Azure to start the app.")
@on_whole_app
@by_option("the circuit's history")
@reason_option("the circuit's history", required=False)
@json_option
@command
async def start(pipelines: Sequence[Pipeline], *, by: str, reason: str, as_json: bool) -> int:
    """Ask Azure to start the app, with all its pipelines; the circuits stay as they are.

    The exit code is 1 if Azure refuses or does not answer.
    """
    return await _act(StepKind.START, pipelines, by=by, reason=reason, yes=True, as_json=as_json)


async def _act(
    kind: StepKind,
    pipelines: Sequence[Pipeline],
    *,
    by: str,
    reason: str,
    yes: bool,
    as_json: bool,
) -> int:
    async with AsyncExitStack() as opened:
        tools = [await opened.enter_async_context(open_tools(each.settings)) for each in pipelines]
        site = tools[0].site
        if site is None:
            raise SettingsError(NOT_SET)
        own, *others = [each.breaker for each in tools]
        circuits = await asyncio.gather(*(each.refresh() for each in (own, *others)))
        if not confirmed(f"Stop {stopping(pipelines, own.circuit.name)}?", yes=yes):
            click.echo("Nothing was changed", err=True)
            return 1
        done = await act(kind, site, own, by=by, reason=reason, others=others)
    if done.unrecorded:
        say_error(
            f"the {kind} is not on record in the circuit's history: {printable(done.unrecorded)}"
        )
    if as_json:
        states = [None if each.degraded else each.state for each in circuits]
        document = {
            "kind": kind,
            "accepted": done.step.accepted,
            "detail": done.step.detail,
            "error": str(done.error) if done.error is not None else None,
            "recorded": not done.unrecorded,
            "released": done.released,
        }
        if len(pipelines) == 1:
            document["circuit_state"] = states[0]
        else:
            names = [each.name for each in pipelines]
            document["circuit_states"] = dict(zip(names, states, strict=True))
        print(json.dumps(document))
    elif done.error is None:
        print(f"{kind.capitalize()} asked, accepted ({printable(done.step.detail)}).")
        if kind is StepKind.START:
            for pipeline, circuit in zip(pipelines, circuits, strict=True):
                if circuit.state in _HOLDING and not circuit.degraded:
                    print(_holds(pipeline, circuit, is_only=len(pipelines) == 1))
        if done.released:
            print(f"Workflow runs that waited for a start and are called back: {done.released}")
        print("See `breakwater health` for what follows.")
    if done.error is not None:
        say_error(printable(str(done.error)))
        return 1
    return 0


def stopping(pipelines: Sequence[Pipeline], circuit: str) -> str:
    """Return what a stop of the app stops; `circuit` is the name of its first circuit."""
    if len(pipelines) == 1:
        return f"the app of circuit {circuit}"
    return f"the app with its pipelines {', '.join(each.name for each in pipelines)}"


def _holds(pipeline: Pipeline, circuit: Circuit, *, is_only: bool) -> str:
    what = "The circuit" if is_only else f"The circuit of pipeline {pipeline.name}"
    whose = "the app holds all events" if is_only else "the pipeline holds its events"
    return f"{what} is {circuit.state} (generation {circuit.generation}): {whose}."


def statement_line(line: Line) -> str:
    """Return a line of the statement for a terminal; a warning begins with an exclamation mark."""
    return f"{_MARKS[line.level]} {printable(line.text)}"


@asynccontextmanager
async def open_tools(settings: Mapping[str, str]) -> AsyncIterator[Tools]:
    """Open the circuit and the function app that the settings name.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
    """
    # The commands print what these loggers would log.
    for name in ("breaker.circuit", "breaker.stores.outage", "processing.site.acts"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    async with AsyncExitStack() as opened:
        wiring = CircuitWiring(settings, opened, breaking=without_judging(settings))
        breaker, site = wiring.new_breaker(), wiring.site()
        opened.push_async_callback(breaker.aclose)
        watch = SiteWatch(
            *(breaker, site, wiring.vitals()),
            now=time.time,
            how_to_start=RUN_START,
            held=held_by(settings),
        )
        yield Tools(breaker, site, watch)


app = CommandGroup(
    "app",
    commands=[app_status, stop, start],
    short_help="Show whether the function app runs; stop or start it.",
    help="Show whether the function app runs; stop or start it.",
)
