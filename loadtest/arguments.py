"""The command line: `python -m loadtest run …` to settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from loadtest.errors import UsageError
from loadtest.plan.chaos_settings import chaos_settings
from loadtest.plan.settings import ApproveWith, Scenario, Settings, Target
from loadtest.sweep import Sweep, parse_scenarios, parse_seeds


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `python -m loadtest run --help`)")


def parse(arguments: Sequence[str]) -> Settings | Sweep:
    """What a command line asks for, without the program's name: one run, or a sweep of them.

    Raises:
        UsageError: an option is unknown or its value is impossible; the message says which.
        SystemExit: `--help` was asked for and printed.
    """
    values: dict[str, Any] = vars(_parser().parse_args(arguments))
    command = values.pop("command")
    chosen = {name: value for name, value in values.items() if value is not None}
    chosen["app_settings"] = MappingProxyType(dict(map(_change, chosen.pop("set", []))))
    if command == "chaos-sweep":
        directory = chosen.pop("directory", Path("out/chaos"))
        scenarios = parse_scenarios(chosen.pop("scenarios", Scenario.CHAOS.value))
        jobs = chosen.pop("jobs", 1)
        return Sweep(parse_seeds(chosen.pop("seeds")), scenarios, directory, jobs, chosen)
    faults = chosen.pop("faults", False)
    if chosen.get("target") == Target.AZURE:
        chosen.setdefault("endpoints_file", Path("out/azure.env"))
    if chosen.get("target", Target.LOCAL) != Target.LOCAL:
        for name in ("instances", "partitions", "app", "console"):
            if name in chosen:
                option = "no-console" if name == "console" else name
                raise UsageError(f"--{option} takes --target local: a running stack has its own")
    if faults or chosen.get("scenario") is Scenario.CHAOS:
        return chaos_settings({"scenario": Scenario.OUTAGE, **chosen})
    return Settings(**chosen)


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
    add("--events", type=int, metavar="N", help="how many to send (100000; chaos: 20000)")
    add(
        "--keys",
        type=int,
        metavar="N",
        help="partition keys, each with its own counter (100; chaos: drawn)",
    )
    add("--poison-every", type=int, metavar="N", help="outage: one poison event in N (2000)")
    add("--outage-after", type=int, metavar="N", help="outage: begins after N handled (20000)")
    add(
        "--approve-after",
        dest="approve_after_seconds",
        type=float,
        metavar="S",
        help="seconds until the operator approves (5; chaos: 1)",
    )
    add("--approve", type=ApproveWith, choices=list(ApproveWith), help="who does it (cli)")
    add(
        "--no-console",
        dest="console",
        action="store_const",
        const=False,
        help="own stack without the operator's console: for runs that open no circuit",
    )
    add("--report", type=Path, metavar="FILE", help="out/report.json; .html and .png beside it")
    add(
        "--json-only",
        action="store_true",
        default=None,
        help="write the report without its page and its picture",
    )
    add(
        "--target",
        type=Target,
        choices=list(Target),
        help="own stack, a running one, Azure (local)",
    )
    add(
        "--endpoints",
        dest="endpoints_file",
        type=Path,
        metavar="FILE",
        help="of the running stack (.local/endpoints.json; azure: out/azure.env)",
    )
    add("--instances", type=int, metavar="N", help="function host processes (1; chaos: drawn)")
    add("--partitions", type=int, metavar="N", help="of the event hub (4; chaos: drawn)")
    add("--app", type=Path, metavar="DIR", help="the function app to host (this repository's)")
    add("--set", action="append", metavar="NAME=VALUE", help="an app setting; may be repeated")
    add(
        "--faults",
        action="store_true",
        default=None,
        help="do what --seed draws to the stack (chaos: always)",
    )
    add("--kill-after", type=int, metavar="N", help="kill -9 one host instance after N handled")
    add(
        "--rate",
        dest="rate_per_second",
        type=float,
        metavar="N",
        help="events sent per second (0: as fast as possible; chaos: 1000)",
    )
    add("--events-per-batch", type=int, metavar="N", help="of one key, sent together (40)")
    add(
        "--timeout",
        dest="timeout_seconds",
        type=float,
        metavar="S",
        help="give up after so many seconds of running (600; chaos: 240)",
    )
    add(
        "--stall",
        dest="stall_seconds",
        type=float,
        metavar="S",
        help="give up when nothing moved for so long (60)",
    )
    add(
        "--lease",
        dest="lease_seconds",
        type=float,
        metavar="S",
        help="until a silent host's partitions are taken over (10; chaos: 5)",
    )
    add(
        "--seed",
        type=int,
        metavar="N",
        help="draws the places of the poison events, and all of chaos (0)",
    )
    _add_sweep(commands)
    return parser


def _add_sweep(commands: Any) -> None:
    sweep = commands.add_parser(
        "chaos-sweep",
        help="run many seeds with faults and print a table",
        description="Run each seed with the faults that it draws and print a table. The seeds go "
        "to the scenarios in turn. Reports, logs and sweep.json (the table) go to the directory. "
        "Exit code 0: every run kept every promise.",
    )
    add = sweep.add_argument
    add("--seeds", required=True, metavar="A-B", help="such as 1-25, or 3,5,7")
    add("--scenarios", metavar="NAMES", help="all, or such as outage,seed (chaos)")
    add("--jobs", type=int, metavar="N", help="runs at once (1)")
    add("--reports", dest="directory", type=Path, metavar="DIR", help="for each seed (out/chaos)")
    add("--events", type=int, metavar="N", help="of each run (20000)")
    add("--rate", dest="rate_per_second", type=float, metavar="N", help="sent per second (1000)")
    add("--app", type=Path, metavar="DIR", help="the function app to host (this repository's)")
    add("--set", action="append", metavar="NAME=VALUE", help="an app setting; may be repeated")
