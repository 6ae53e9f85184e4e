"""The commands of the local stack: `up`, `down`, `stack` (its status) and `host`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from breaker.configuration.command_line import json_option
from local.functions_host.options import HostOptions, port_number, shared_options
from local.functions_host.triggers.event_hubs.balancing import Balancing
from local.functions_host.triggers.event_hubs.extension import Extension
from local.services.ports import DEFAULT_PORTS, PortChoice
from local.settings_file import SettingError, parse_settings
from local.state_directory import DEFAULT_STATE_DIR, StateDirectory

if TYPE_CHECKING:
    from rich.console import Console

_SETTINGS_NAME = "local.settings.json"
_ARGUMENTS = "local.command.arguments"


def _directory(text: str | Path) -> Path:
    path = Path(text).absolute()
    if path.exists() and not path.is_dir():
        raise click.BadParameter(f"it takes a directory, but {path} is not a directory")
    return path


_state_dir = click.option(
    "--state-dir",
    type=_directory,
    default=DEFAULT_STATE_DIR,
    show_default=True,
    metavar="DIR",
    help="Directory for the stack's records, logs and data.",
)


class _Repeatable(click.Command):
    """A command that keeps its arguments, which its detached process parses again."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)


def _partitions(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise click.BadParameter(f"a hub has 1 to 1024 partitions, not {text!r}")
    return int(text)


def _number(text: str, least: float, most: float, refusal: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not least <= value <= most:
        raise click.BadParameter(refusal)
    return value


def _delay(text: str) -> float:
    return _number(text, 0, 600, f"the delay is 0 to 600 seconds, not {text!r}")


def _scale(text: str) -> float:
    return _number(text, 1e-9, 1000, f"a scale is above 0 and at most 1000, not {text!r}")


def _ports[Function: Callable[..., Any]](function: Function) -> Function:
    for name, default in reversed(list(DEFAULT_PORTS.items())):
        function = click.option(
            f"--port-{name}",
            type=port_number,
            metavar="PORT",
            help=f"Port (0: any free port).  [default: {default}]",
        )(function)
    return function


@click.command(cls=_Repeatable)
@_state_dir
@click.option("--foreground", is_flag=True, help="Run in the foreground; Ctrl-C stops the stack.")
@click.option(
    "--lifeline", is_flag=True, help="Stop the stack when standard input (a pipe) is closed."
)
@click.option(
    "--partitions",
    type=_partitions,
    metavar="N",
    help="Number of the hub's partitions.  [default: that of the kept hub, or 4]",
)
@click.option(
    "--wipe",
    is_flag=True,
    help="Delete the data of the run before: events, Redis, queues and keys.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Add or change an app setting; repeatable.",
)
@click.option(
    "--no-console",
    "console",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Do not start the operator console; the workflow then cannot ask for an approval.",
)
@click.option(
    "--redis-replica",
    is_flag=True,
    help="Start a replica of Redis, and a proxy in front of both that imitates failovers.",
)
@click.option(
    "--grid-retry-scale",
    type=_scale,
    metavar="FACTOR",
    help="Factor for Event Grid's delays between attempts; 1 is as on Azure.  [default: 1]",
)
@click.option(
    "--workflow-retry-scale",
    type=_scale,
    metavar="FACTOR",
    help="Factor for every duration of the workflow; 1 gives Azure's durations.  [default: 0.1]",
)
@click.option(
    "--stop-seconds",
    type=_delay,
    metavar="SECONDS",
    help="Seconds between a request to stop the app and the stop, to imitate Azure.  [default: 0]",
)
@click.option(
    "--ephemeral-ports",
    is_flag=True,
    help="Use any free port for each service without its own --port-... option.",
)
@_ports
@click.option("--ready-fd", type=int, hidden=True)
@click.pass_context
def up(
    context: click.Context,
    /,
    *,
    state_dir: Path,
    foreground: bool,
    lifeline: bool,
    partitions: int | None,
    wipe: bool,
    changes: Sequence[str],
    console: bool,
    redis_replica: bool,
    grid_retry_scale: float | None,
    workflow_retry_scale: float | None,
    stop_seconds: float | None,
    ephemeral_ports: bool,
    ready_fd: int | None,
    **ports: int | None,
) -> int:
    """Start the stack and return when every service is healthy."""
    from local.stack import up as stack_up  # noqa: PLC0415 - `down` and `stack` do not need it
    from local.stack.stack import StackOptions  # noqa: PLC0415

    directory = StateDirectory(state_dir)
    try:
        settings = parse_settings(changes)
    except SettingError as error:
        raise click.UsageError(str(error)) from None
    asked = {name: ports[f"port_{name.replace('-', '_')}"] for name in DEFAULT_PORTS}
    cloud = {
        "--grid-retry-scale": grid_retry_scale,
        "--workflow-retry-scale": workflow_retry_scale,
        "--stop-seconds": stop_seconds,
    }
    is_default = directory.path == DEFAULT_STATE_DIR.absolute()
    options = StackOptions(
        directory=directory,
        settings_file=(Path.cwd() if is_default else directory.path) / _SETTINGS_NAME,
        ports=PortChoice(
            {name: port for name, port in asked.items() if port is not None},
            ephemeral=ephemeral_ports,
        ),
        partitions=partitions,
        settings=settings,
        console=console,
        redis_replica=redis_replica,
        cloud={option: number for option, number in cloud.items() if number is not None},
        wipe=wipe,
    )
    if ready_fd is None and not foreground:
        arguments = ("up", *context.meta[_ARGUMENTS])
        return stack_up.run_detached(options, arguments, _console(), lifeline=lifeline)
    logging.basicConfig(
        level=logging.INFO if ready_fd is not None else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    if ready_fd is None:
        return stack_up.run_foreground(options, _console(), lifeline=lifeline)
    return stack_up.run_reporting(options, ready_fd, lifeline=lifeline)


@click.command()
@_state_dir
@click.option(
    "--wipe", is_flag=True, help="Delete the data, with which the next `up` would continue."
)
def down(*, state_dir: Path, wipe: bool) -> int:
    """Stop the stack."""
    from local.stack.down import take_down  # noqa: PLC0415 - see up

    directory = StateDirectory(state_dir)
    click.echo(asyncio.run(take_down(directory, wipe=wipe)))
    if hosts := directory.live_hosts():
        processes = ", ".join(map(str, hosts))
        click.echo(
            f"These function hosts are still running without a stack (process ids): {processes}."
        )
    return 0


@click.command()
@_state_dir
@json_option
@click.option(
    "--services",
    is_flag=True,
    help="Show only the services; do not query storage and the hub for the partitions.",
)
def stack(*, state_dir: Path, as_json: bool, services: bool) -> int:
    """Show the services and the owner of each partition; exit with 3 if a service is down."""
    from local.stack.status import read_status  # noqa: PLC0415 - see up
    from local.stack.table import print_partitions, print_services  # noqa: PLC0415

    status = asyncio.run(read_status(StateDirectory(state_dir), partitions=not services))
    if as_json:
        click.echo(json.dumps(status, indent=2))
    elif not status["services"]:
        click.echo("The stack is not running.")
    else:
        if status["supervisor_pid"] is None:
            click.echo(
                "The supervisor is not running. Run `breakwater down`, then `breakwater up`."
            )
        print_services(_console(), status["services"])
        for problem in status["problems"]:
            click.echo(f"\n{problem}")
        if status["partitions"]:
            click.echo()
            print_partitions(_console(), status["partitions"])
        elif not services and status["up"] and not status["problems"]:
            click.echo("\nNo function host has claimed a partition yet.")
    return 0 if status["up"] else 3


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise click.BadParameter(f"a site has 1 to 64 instances, not {text!r}")
    return int(text)


@click.command()
@click.option(
    "--app",
    type=Path,
    default=Path(),
    metavar="DIR",
    help="Folder with function_app.py.  [default: current folder]",
)
@click.option(
    "--instances",
    type=_count,
    default="1",
    show_default=True,
    metavar="N",
    help="Number of host processes.",
)
@click.option(
    "--debug",
    is_flag=True,
    help="Debug the app: one process that keeps the terminal, without time limits; breakpoint() "
    "opens the debugger.",
)
@click.option(
    "--debugpy-port",
    type=port_number,
    metavar="PORT",
    help="With --debug: loopback port to which an editor can attach (0: any free port).",
)
@click.option(
    "--reload", "reloads", is_flag=True, help="Start again after a change of the app's files."
)
@_state_dir
@click.option(
    "--settings",
    type=Path,
    metavar="FILE",
    help="A local.settings.json.  [default: the stack's file]",
)
@click.option(
    "--port",
    type=port_number,
    default="7071",
    show_default=True,
    metavar="PORT",
    help="HTTP port of the first instance; each other instance adds 1 (0: any free ports).",
)
@shared_options
def host(
    *,
    app: Path,
    instances: int,
    debug: bool,
    debugpy_port: int | None,
    reloads: bool,
    state_dir: Path,
    settings: Path | None,
    port: int,
    lifeline: bool,
    verbose: bool,
    grace: float,
    balance_interval: float,
    lease: float,
    event_hubs_extension: Extension,
) -> int:
    """Run the function app on the stack."""
    if debugpy_port is not None and not debug:
        raise click.UsageError("--debugpy-port is only accepted with --debug")
    if debug and instances != 1:
        raise click.UsageError("--debug runs one instance: leave out --instances")
    if debug and lifeline:
        raise click.UsageError(
            "--debug keeps standard input for the debugger: leave out --lifeline"
        )
    options = HostOptions(
        app=app,
        state_dir=state_dir,
        settings=settings,
        instances=instances,
        port=port,
        grace=grace,
        balancing=Balancing(balance_interval, lease),
        event_hubs_extension=event_hubs_extension,
        lifeline=lifeline,
        verbose=verbose,
        reload=reloads,
    )
    if debug:
        from local.functions_host import debug as debugging  # noqa: PLC0415 - slow to load

        debugging.run(options, debugpy_port)
    from local.functions_host.instances import run  # noqa: PLC0415 - slow to load, host only

    return run(options)


def _console() -> Console:
    """Return a console that does not fold addresses when it writes to a file or a pipe."""
    from rich.console import Console  # noqa: PLC0415 - the supervisor and `down` do not need it

    console = Console()
    return console if console.is_terminal else Console(width=200)
