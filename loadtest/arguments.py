"""The command line: `python -m loadtest run …` to settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from loadtest.errors import UsageError
from loadtest.settings import ApproveWith, Scenario, Settings, Target


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `python -m loadtest run --help`)")


def parse(arguments: Sequence[str]) -> Settings:
    """Settings from a command line, without the program's name.

    Raises:
        UsageError: an option is unknown or its value is impossible; the message says which.
        SystemExit: `--help` was asked for and printed.
    """
    values: dict[str, Any] = vars(_parser().parse_args(arguments))
    values.pop("command")
    chosen = {name: value for name, value in values.items() if value is not None}
    changes = chosen.pop("set", [])
    if chosen.get("target") == Target.RUNNING:
        for name in ("instances", "partitions", "app"):
            if name in chosen:
                raise UsageError(f"--{name} takes --target local: a running stack has its own")
    return Settings(app_settings=MappingProxyType(dict(map(_change, changes))), **chosen)


def _change(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--set {text!r} takes NAME=VALUE")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m loadtest", description="Load test of the function app.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    run = commands.add_parser(
        "run",
        help="send ordered messages, interfere, verify from the outside",
        description="Send ordered messages through the system, interfere as the scenario says and "
        "verify from the outside what became of each. Exit code 0: every promise was kept; 1: one "
        "was broken; 2: the command line is wrong; 130: interrupted.",
    )
    add = run.add_argument
    add("--scenario", type=Scenario, choices=list(Scenario), help="default outage")
    add("--events", type=int, metavar="N", help="how many to send (100000)")
    add("--keys", type=int, metavar="N", help="partition keys, each with its own counter (100)")
    add("--poison-every", type=int, metavar="N", help="outage: one poison event in N (2000)")
    add("--outage-after", type=int, metavar="N", help="outage: begins after N handled (20000)")
    add(
        "--approve-after",
        dest="approve_after_seconds",
        type=float,
        metavar="S",
        help="seconds until the operator approves (5)",
    )
    add("--approve", type=ApproveWith, choices=list(ApproveWith), help="how (cli)")
    add("--report", type=Path, metavar="FILE", help="out/report.json; .html and .png beside it")
    add("--target", type=Target, choices=list(Target), help="own stack or a running one (local)")
    add(
        "--endpoints",
        dest="endpoints_file",
        type=Path,
        metavar="FILE",
        help="of the running stack (.local/endpoints.json)",
    )
    add("--instances", type=int, metavar="N", help="function host processes (1)")
    add("--partitions", type=int, metavar="N", help="of the event hub (4)")
    add("--app", type=Path, metavar="DIR", help="the function app to host (this repository's)")
    add("--set", action="append", metavar="NAME=VALUE", help="an app setting; may be repeated")
    add("--kill-after", type=int, metavar="N", help="kill -9 one host instance after N handled")
    add(
        "--rate",
        dest="rate_per_second",
        type=float,
        metavar="N",
        help="events sent per second (0: as fast as possible)",
    )
    add("--events-per-batch", type=int, metavar="N", help="of one key, sent together (40)")
    add(
        "--timeout",
        dest="timeout_seconds",
        type=float,
        metavar="S",
        help="give up after so many seconds of running (600)",
    )
    add(
        "--stall",
        dest="stall_seconds",
        type=float,
        metavar="S",
        help="give up when nothing moved for so long (60)",
    )
    add("--seed", type=int, metavar="N", help="draws the places of the poison events (0)")
    return parser
