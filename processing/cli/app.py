"""`python -m processing app status|stop|start`."""

from __future__ import annotations

import argparse
import getpass
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass

from breaker import CircuitBreaker, CircuitState
from breaker.chain import StepKind
from processing.circuit_wiring import CircuitWiring, without_judging
from processing.cli.output import printable
from processing.errors import SettingsError
from processing.site.acts import act
from processing.site.client import Site
from processing.site.settings import NOT_SET
from processing.site.statement import RUN_START, Level, statement
from processing.site.watch import SiteWatch

_MARKS = {Level.OK: " ", Level.NOTE: " ", Level.WARNING: "!"}
_HOLDS = "The circuit is {state} (generation {generation}): the app holds all events."


@dataclass(frozen=True, slots=True)
class Tools:
    """The objects that the commands use."""

    breaker: CircuitBreaker
    site: Site | None
    watch: SiteWatch


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    """Add the command `app`."""
    app = commands.add_parser("app", help="show whether the function app runs; stop or start it")
    acts = app.add_subparsers(dest="act", required=True)
    status = acts.add_parser(
        "status", parents=[common], help="print what was seen of the app, its stop and its start"
    )
    status.add_argument("--json", action="store_true", help="print one JSON object")
    status.set_defaults(run=run_status)
    for kind, text in (
        (StepKind.STOP, "ask Azure to stop the app; the circuit stays as it is"),
        (StepKind.START, "ask Azure to start the app; the circuit stays as it is"),
    ):
        command = acts.add_parser(kind.value, parents=[common], help=text)
        command.add_argument(
            "--by",
            default=user(),
            metavar="NAME",
            help="name for the circuit's history (default: your user name)",
        )
        command.add_argument(
            "--reason", default="", metavar="TEXT", help="reason for the circuit's history"
        )
        command.add_argument("--json", action="store_true", help="print one JSON object")
        command.set_defaults(run=run_act, kind=kind)


async def run_status(settings: Mapping[str, str], arguments: argparse.Namespace) -> int:
    """Print the statement; return 1 if the app's state or the record could not be read."""
    async with open_tools(settings) as tools:
        circuit = await tools.breaker.refresh()
        await tools.watch.read_state(attempts=2)
        seen = await tools.watch.look()
    lines = statement(seen)
    if arguments.json:
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
            print(f"{_MARKS[line.level]} {printable(line.text)}")
    unknown = seen.chain is None or (seen.site is not None and bool(seen.site.error))
    return 1 if unknown else 0


async def run_act(settings: Mapping[str, str], arguments: argparse.Namespace) -> int:
    """Stop or start the app; return 1 if the call was refused or not answered."""
    kind: StepKind = arguments.kind
    async with open_tools(settings) as tools:
        if tools.site is None:
            raise SettingsError(NOT_SET)
        circuit = await tools.breaker.refresh()
        done = await act(kind, tools.site, tools.breaker, by=arguments.by, reason=arguments.reason)
    if done.unrecorded:
        print(
            f"processing: the {kind} is not on record in the circuit's history: "
            f"{printable(done.unrecorded)}",
            file=sys.stderr,
        )
    holds = circuit.state in {CircuitState.OPEN, CircuitState.ISOLATED} and not circuit.degraded
    if arguments.json:
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
        print("See `python -m processing app status` for what follows.")
    if done.error is not None:
        print(f"processing: {printable(str(done.error))}", file=sys.stderr)
        return 1
    return 0


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


def user() -> str:
    """Return the name of the user who runs the command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"
