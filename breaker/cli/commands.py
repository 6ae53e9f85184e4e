"""The commands of a circuit: status, history, approve, close and isolate."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from functools import wraps
from typing import Any

import click

from breaker.circuit import CircuitBreaker
from breaker.cli.circuits import opened
from breaker.cli.lines import change_line, document, history_line, next_state
from breaker.cli.options import (
    Duration,
    by_option,
    dependency_option,
    generation_option,
    reason_option,
)
from breaker.cli.status import Status
from breaker.cli.status import watch as watch_changes
from breaker.configuration.command_line import (
    DONE,
    FAILED,
    WRONG_ARGUMENT,
    WholeNumber,
    asynchronous,
    confirmed,
    exit_codes,
    json_option,
    log_warnings,
    say_error,
    yes_option,
)
from breaker.configuration.pipeline_option import (
    choice,
    need_one,
    on_all_pipelines,
    on_one_pipeline,
    show_each,
)
from breaker.configuration.pipelines import Pipeline
from breaker.duration import FORMS
from breaker.errors import BreakerError, SettingsError
from breaker.state import Circuit

_CODES = {SettingsError: WRONG_ARGUMENT, BreakerError: FAILED, ValueError: WRONG_ARGUMENT}


def _command[**P](function: Callable[P, Coroutine[Any, Any, int]]) -> Callable[P, int]:
    """Return a command's function that runs a coroutine function and prints what it logs."""

    @wraps(function)
    def quietly(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, int]:
        log_warnings()
        logging.getLogger("breaker.circuit").setLevel(logging.ERROR)
        logging.getLogger("breaker.stores.outage").setLevel(logging.CRITICAL)
        return function(*args, **kwargs)

    return exit_codes(_CODES)(asynchronous(quietly))


@click.command(short_help="Show the circuit, and those of all dependencies.")
@on_all_pipelines
@dependency_option
@click.option("--watch", is_flag=True, help="Print each change until interrupted with Ctrl-C.")
@json_option
@_command
async def status(
    pipelines: Sequence[Pipeline], *, dependency: str | None, watch: bool, as_json: bool
) -> int:
    """Show the circuit, and those of all dependencies; of several pipelines one after another."""
    need_one(pipelines, dependency=dependency is not None, watch=watch)
    documents: dict[str, object] = {}

    async def show(pipeline: Pipeline) -> int:
        documents[pipeline.name] = None  # stays null if the circuit cannot be read
        async with opened(pipeline.settings, in_outage=watch) as circuits:
            found = await Status.read(
                circuits, dependency, in_outage=watch, chosen=choice(pipeline)
            )
            if not as_json:
                click.echo(found.text)
            elif len(pipelines) == 1:
                click.echo(json.dumps(found.document))
            documents[pipeline.name] = found.document
            if watch:
                await (found.breaker if dependency is None else circuits.dependencies).start()
                await watch_changes(found.breaker, as_lines=not as_json)
        return DONE

    code = await show_each(pipelines, show, codes=_CODES, headings=not as_json)
    if as_json and len(pipelines) > 1:
        click.echo(json.dumps({"pipelines": documents}))
    return code


@click.command(short_help="List the circuit's changes: when, by whom, why.")
@on_all_pipelines
@dependency_option
@click.option(
    "--limit",
    type=WholeNumber(1),
    default=20,
    metavar="N",
    help="Number of entries (default: 20).",
)
@json_option
@_command
async def history(
    pipelines: Sequence[Pipeline], *, dependency: str | None, limit: int, as_json: bool
) -> int:
    """List the circuit's changes, the latest last: when, by whom, why.

    Several pipelines are shown one after another; each JSON object then names its pipeline.
    """
    need_one(pipelines, dependency=dependency is not None)

    async def show(pipeline: Pipeline) -> int:
        async with opened(pipeline.settings) as circuits:
            breaker = await circuits.named(dependency)
            entries = await breaker.history(limit)
        named = {"pipeline": pipeline.name} if len(pipelines) > 1 else {}
        for entry in reversed(entries):
            click.echo(json.dumps(named | asdict(entry)) if as_json else history_line(entry))
        if not entries and not as_json:
            click.echo("No changes")
        return DONE

    return await show_each(pipelines, show, codes=_CODES, headings=not as_json)


@click.command(short_help="Make the open circuit half-open, so that probes run.")
@on_one_pipeline
@dependency_option
@generation_option
@by_option
@json_option
@_command
async def approve(
    pipeline: Pipeline, *, dependency: str | None, generation: int, by: str, as_json: bool
) -> int:
    """Make the open circuit half-open, so that probe events run."""
    async with opened(pipeline.settings) as circuits:
        breaker = await circuits.named(dependency)
        _show_change(breaker, await breaker.approve(generation, by), as_json=as_json)
    return DONE


@click.command(short_help="Close the circuit at once, without probes.")
@on_one_pipeline
@dependency_option
@generation_option
@by_option
@reason_option(required=False)
@json_option
@_command
async def close(
    pipeline: Pipeline,
    *,
    dependency: str | None,
    generation: int,
    by: str,
    reason: str,
    as_json: bool,
) -> int:
    """Close the circuit at once, without probes."""
    async with opened(pipeline.settings) as circuits:
        breaker = await circuits.named(dependency)
        circuit = await breaker.close_circuit(generation, by, reason)
        _show_change(breaker, circuit, as_json=as_json)
    return DONE


@click.command(short_help="Hold all events, or those of a dependency, until `close`.")
@on_one_pipeline
@dependency_option
@click.option(
    "--for",
    "for_seconds",
    type=Duration(),
    metavar="TIME",
    help=f"Length of the isolation: {FORMS}.",
)
@reason_option(required=True)
@by_option
@yes_option
@json_option
@_command
async def isolate(
    pipeline: Pipeline,
    *,
    dependency: str | None,
    for_seconds: int | None,
    reason: str,
    by: str,
    yes: bool,
    as_json: bool,
) -> int:
    """Hold all events, or with --dependency those that need the dependency.

    The isolation lasts until the end of --for or, without --for, until `close`. At the end a
    circuit that was closed is closed again; otherwise the circuit opens again, with an alert.
    Isolating an isolated circuit replaces its reason and its end. The app's own circuit can be
    isolated before its first instance starts; the command then warns.
    """
    may_be_unknown = dependency is None  # a first deployment may begin with all events held
    async with opened(pipeline.settings, may_be_unknown=may_be_unknown) as circuits:
        breaker = await circuits.named(dependency)
        if circuits.unknown is not None:
            say_error(str(circuits.unknown))
        what = "all events" if dependency is None else f"the events that need {dependency}"
        if not confirmed(f"Hold {what} of {breaker.settings.name}?", yes=yes):
            click.echo("Nothing was changed", err=True)
            return FAILED
        circuit = await breaker.isolate(by, reason, for_seconds)
        _show_change(breaker, circuit, as_json=as_json)
        if not as_json:
            click.echo(next_state(breaker, chosen=choice(pipeline)))
    return DONE


def _show_change(breaker: CircuitBreaker, circuit: Circuit, *, as_json: bool) -> None:
    click.echo(json.dumps(document(breaker)) if as_json else change_line(circuit))
