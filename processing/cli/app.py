"""`breakwater stop|start`, and `python -m processing app status|stop|start`."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from breaker import CircuitBreaker, CircuitState
from breaker.chain import StepKind
from breaker.configuration.command_line import (
    CommandGroup,
    confirmed,
    json_option,
    say_error,
    settings_option,
    yes_option,
)
from breaker.configuration.local_settings import read_settings
from processing.circuit_wiring import CircuitWiring, without_judging
from processing.cli.options import by_option, command, reason_option
from processing.cli.output import printable
from processing.errors import SettingsError
from processing.site.acts import act
from processing.site.client import Site
from processing.site.settings import NOT_SET
from processing.site.statement import RUN_START, Level, Line, statement
from processing.site.watch import SiteWatch

_MARKS = {Level.OK: " ", Level.NOTE: " ", Level.WARNING: "!"}
_HOLDS = "The circuit is {state} (generation {generation}): the app holds all events."


@dataclass(frozen=True, slots=True)
class Tools:
    """The objects that the commands use."""

    breaker: CircuitBreaker
    site: Site | None
    watch: SiteWatch


@click.command("status", short_help="Print what was seen of the app, its stop and its start.")
@settings_option
@json_option
@command
async def app_status(settings: Path | None, *, as_json: bool) -> int:
    """Print what was seen of the app, its stop and its start.

    The exit code is 1 if the app's state or the record cannot be read.
    """
    async with open_tools(read_settings(settings)) as tools:
        circuit = await tools.breaker.refresh()
        await tools.watch.read_state(attempts=2)
        seen = await tools.watch.look()
    lines = statement(seen)
    if as_json:
        site = seen.site
        document = {
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
@settings_option
@by_option("the circuit's history")
@reason_option("the circuit's history", required=False)
@yes_option
@json_option
@command
async def stop(settings: Path | None, *, by: str, reason: str, yes: bool, as_json: bool) -> int:
    """Ask Azure to stop the app; the circuit stays as it is.

    The exit code is 1 if Azure refuses or does not answer.
    """
    return await _act(StepKind.STOP, settings, by=by, reason=reason, yes=yes, as_json=as_json)


@click.command(short_help="Ask Azure to start the app.")
@settings_option
@by_option("the circuit's history")
@reason_option("the circuit's history", required=False)
@json_option
@command
async def start(settings: Path | None, *, by: str, reason: str, as_json: bool) -> int:
    """Ask Azure to start the app; the circuit stays as it is.

    The exit code is 1 if Azure refuses or does not answer.
    """
    return await _act(StepKind.START, settings, by=by, reason=reason, yes=True, as_json=as_json)


async def _act(
    kind: StepKind, settings: Path | None, *, by: str, reason: str, yes: bool, as_json: bool
) -> int:
    async with open_tools(read_settings(settings)) as tools:
        if tools.site is None:
            raise SettingsError(NOT_SET)
        circuit = await tools.breaker.refresh()
        if not confirmed(f"Stop the app of circuit {circuit.name}?", yes=yes):
            click.echo("Nothing was changed", err=True)
            return 1
        done = await act(kind, tools.site, tools.breaker, by=by, reason=reason)
    if done.unrecorded:
        say_error(
            f"the {kind} is not on record in the circuit's history: {printable(done.unrecorded)}"
        )
    holds = circuit.state in {CircuitState.OPEN, CircuitState.ISOLATED} and not circuit.degraded
    if as_json:
        document = {
            "kind": kind,
            "accepted": done.step.accepted,
            "detail": done.step.detail,
            "error": str(done.error) if done.error is not None else None,
            "recorded": not done.unrecorded,
            "released": done.released,
            "circuit_state": None if circuit.degraded else circuit.state,
        }
        print(json.dumps(document))
    elif done.error is None:
        print(f"{kind.capitalize()} asked, accepted ({printable(done.step.detail)}).")
        if kind is StepKind.START and holds:
            print(_HOLDS.format(state=circuit.state, generation=circuit.generation))
        if done.released:
            print(f"Workflow runs that waited for a start and are called back: {done.released}")
        print("See `breakwater health` for what follows.")
    if done.error is not None:
        say_error(printable(str(done.error)))
        return 1
    return 0


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
        watch = SiteWatch(breaker, site, wiring.vitals(), now=time.time, how_to_start=RUN_START)
        yield Tools(breaker, site, watch)


app = CommandGroup(
    "app",
    commands=[app_status, stop, start],
    short_help="Show whether the function app runs; stop or start it.",
    help="Show whether the function app runs; stop or start it.",
)
