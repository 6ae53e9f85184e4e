"""`python -m local up|down|status|host`: the whole system on one machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from local.services.ports import DEFAULT_PORTS, PortChoice
from local.settings_file import SettingError, parse_settings
from local.state_directory import DEFAULT_STATE_DIR, StateDirectory

if TYPE_CHECKING:
    from rich.console import Console

_SETTINGS_NAME = "local.settings.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser(with_host="host" in arguments)
    args = parser.parse_args(arguments)
    if args.command == "host":
        from local.functions_host.instances import run  # noqa: PLC0415 - slow to load, host only

        return run(args)
    directory = StateDirectory(args.state_dir.absolute())
    if directory.path.exists() and not directory.path.is_dir():
        parser.error(f"--state-dir takes a directory, but {directory.path} is not a directory")
    try:
        if args.command == "up":
            return _up(args, arguments, directory, parser)
        if args.command == "down":
            return _down(directory, wipe=args.wipe)
        return _status(directory, partitions=not args.services, as_json=args.json)
    except OSError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1


def _parser(*, with_host: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_up(
        commands.add_parser("up", help="start the stack and return when every service is healthy")
    )
    for name, text in (
        ("down", "stop the stack"),
        ("status", "show the services and the owner of each partition"),
    ):
        command = commands.add_parser(name, help=text)
        _add_state_dir(command)
        if name == "down":
            command.add_argument(
                "--wipe",
                action="store_true",
                help="delete the data, which the next `up` would continue with",
            )
        if name == "status":
            command.add_argument("--json", action="store_true", help="print JSON")
            command.add_argument(
                "--services",
                action="store_true",
                help="show only the services; do not query storage and the hub for the partitions",
            )
    host = commands.add_parser("host", help="run the function app on the stack")
    if with_host:
        from local.functions_host.instances import add_arguments  # noqa: PLC0415 - as in main

        add_arguments(host)
    return parser


def _add_up(up: argparse.ArgumentParser) -> None:
    _add_state_dir(up)
    up.add_argument(
        "--foreground", action="store_true", help="run in the foreground; Ctrl-C stops the stack"
    )
    up.add_argument(
        "--lifeline",
        action="store_true",
        help="stop the stack when standard input (a pipe) is closed",
    )
    up.add_argument(
        "--partitions",
        type=_positive,
        help="number of the hub's partitions (default: that of the kept hub, or 4)",
    )
    up.add_argument(
        "--wipe",
        action="store_true",
        help="delete the data of the run before: events, Redis, queues and keys",
    )
    up.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="add or change an app setting; repeatable",
    )
    up.add_argument(
        "--no-console",
        dest="console",
        action="store_false",
        help="do not start the operator console; the workflow then cannot ask for an approval",
    )
    up.add_argument(
        "--redis-replica",
        action="store_true",
        help="start a replica of Redis, and a proxy in front of both that imitates failovers",
    )
    up.add_argument(
        "--grid-retry-scale",
        type=_scale,
        default=1.0,
        help="factor for Event Grid's delays between delivery attempts (default: 1, as on Azure)",
    )
    up.add_argument(
        "--workflow-retry-scale",
        type=_scale,
        default=0.1,
        help="multiply every duration of the workflow by this factor (default: 0.1; 1 gives "
        "Azure's durations)",
    )
    up.add_argument(
        "--stop-seconds",
        type=_seconds,
        default=0.0,
        help="seconds between a request to stop the app and the stop, to imitate Azure "
        "(default: 0)",
    )
    ports = up.add_argument_group("ports (0: any free port)")
    ports.add_argument(
        "--ephemeral-ports",
        action="store_true",
        help="use any free port for each service without its own --port-... option",
    )
    for name, default in DEFAULT_PORTS.items():
        ports.add_argument(
            f"--port-{name}", type=_port, metavar="PORT", help=f"(default: {default})"
        )
    up.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)


def _add_state_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=DEFAULT_STATE_DIR,
        help=f"directory for the stack's records, logs and data (default: {DEFAULT_STATE_DIR})",
    )


def _up(
    args: argparse.Namespace,
    arguments: Sequence[str],
    directory: StateDirectory,
    parser: argparse.ArgumentParser,
) -> int:
    from local.stack import up  # noqa: PLC0415 - `down` and `status` do not need it
    from local.stack.stack import StackOptions  # noqa: PLC0415

    try:
        settings = parse_settings(args.set)
    except SettingError as error:
        parser.error(str(error))
    asked = {name: getattr(args, f"port_{name.replace('-', '_')}") for name in DEFAULT_PORTS}
    is_default = directory.path == DEFAULT_STATE_DIR.absolute()
    options = StackOptions(
        directory=directory,
        settings_file=(Path.cwd() if is_default else directory.path) / _SETTINGS_NAME,
        ports=PortChoice(
            {name: port for name, port in asked.items() if port is not None},
            ephemeral=args.ephemeral_ports,
        ),
        partitions=args.partitions,
        settings=settings,
        console=args.console,
        redis_replica=args.redis_replica,
        cloud_arguments=(
            *("--grid-retry-scale", str(args.grid_retry_scale)),
            *("--workflow-retry-scale", str(args.workflow_retry_scale)),
            *("--stop-seconds", str(args.stop_seconds)),
        ),
        wipe=args.wipe,
    )
    if args.ready_fd is None and not args.foreground:
        return up.run_detached(options, arguments, _console(), lifeline=args.lifeline)
    logging.basicConfig(
        level=logging.INFO if args.ready_fd is not None else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    if args.ready_fd is None:
        return up.run_foreground(options, _console(), lifeline=args.lifeline)
    return up.run_reporting(options, args.ready_fd, lifeline=args.lifeline)


def _down(directory: StateDirectory, *, wipe: bool) -> int:
    from local.stack.down import take_down  # noqa: PLC0415 - see _up

    print(asyncio.run(take_down(directory, wipe=wipe)))
    if hosts := directory.live_hosts():
        processes = ", ".join(map(str, hosts))
        print(f"These function hosts are still running without a stack (process ids): {processes}.")
    return 0


def _status(directory: StateDirectory, *, partitions: bool, as_json: bool) -> int:
    """Print the status; return 0 when every service is healthy, else 3, as service managers do."""
    from local.stack.status import read_status  # noqa: PLC0415 - see _up
    from local.stack.table import print_partitions, print_services  # noqa: PLC0415

    status = asyncio.run(read_status(directory, partitions=partitions))
    if as_json:
        print(json.dumps(status, indent=2))
    elif not status["services"]:
        print("The stack is not running.")
    else:
        if status["supervisor_pid"] is None:
            print("The supervisor is not running. Run `python -m local down`, then `up`.")
        print_services(_console(), status["services"])
        for problem in status["problems"]:
            print(f"\n{problem}")
        if status["partitions"]:
            print()
            print_partitions(_console(), status["partitions"])
        elif partitions and status["up"] and not status["problems"]:
            print("\nNo function host has claimed a partition yet.")
    return 0 if status["up"] else 3


def _console() -> Console:
    """Return a console that does not fold addresses when it writes to a file or a pipe."""
    from rich.console import Console  # noqa: PLC0415 - the supervisor and `down` do not need it

    console = Console()
    return console if console.is_terminal else Console(width=200)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is 0 to 65535, not {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"a hub has 1 to 1024 partitions, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 600:
        raise argparse.ArgumentTypeError(f"the delay is 0 to 600 seconds, not {text!r}")
    return value


def _scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"a scale is above 0 and at most 1000, not {text!r}")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
