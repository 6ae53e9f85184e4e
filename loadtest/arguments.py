"""The parser from the command line `python -m loadtest …` to settings."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from loadtest.errors import UsageError
from loadtest.plan.chaos_settings import chaos_settings
from loadtest.plan.second_act import APP_SETTINGS
from loadtest.plan.settings import PLANNED, ApproveWith, Scenario, Settings, Target
from loadtest.sweep import Sweep, parse_scenarios, parse_seeds


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `python -m loadtest run --help`)")


def parse(arguments: Sequence[str]) -> Settings | Sweep:
    """Return the settings of one run, or a sweep, from a command line without the program's name.

    Raises:
        UsageError: an option is unknown or has an invalid value; the message names the option.
        SystemExit: `--help` was given; the help is printed.
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
                raise UsageError(
                    f"--{option} is only accepted with --target local, "
                    "because a running stack cannot be changed"
                )
    if faults or chosen.get("scenario") in PLANNED:
        return chaos_settings({"scenario": Scenario.OUTAGE, **chosen})
    if "down_seconds" in chosen:
        raise UsageError("--down is only accepted with --scenario partial-outage, two-dependencies")
    settings = Settings(**chosen)
    if settings.target is not Target.LOCAL or settings.scenario is not Scenario.OUTAGE:
        return settings
    return replace(settings, app_settings=_outage_app_settings(settings))


def _outage_app_settings(settings: Settings) -> Mapping[str, str]:
    """Return settings with which an outage opens the circuit after seconds of healthy traffic.

    An event counts once, and not all keys may be in flight. The standstill rule, which then opens
    the circuit, waits up to ten windows while it has seen few successes.
    """
    defaults = {
        "BREAKER_FAILURE_THRESHOLD": str(max(1, min(25, settings.keys // 2))),
        "BREAKER_WINDOW_SECONDS": "3",
    }
    if settings.second_act:
        defaults |= APP_SETTINGS
    return MappingProxyType(defaults | dict(settings.app_settings))


def _change(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--set {text!r} is invalid; it takes NAME=VALUE")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m loadtest", description="Load test of the function app.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    run = commands.add_parser(
        "run",
        help="send ordered events, inject faults, verify the result from the outside",
        description="Send ordered events through the system, inject the scenario's faults and "
        "verify from the outside what became of each event. Exit codes: 0 if every promise was "
        "kept, 1 if a promise was broken or the run failed, 2 if the command line is invalid, 130 "
        "if interrupted.",
    )
    add = run.add_argument
    add("--scenario", type=Scenario, choices=list(Scenario), help="faults to inject (outage)")
    add(
        "--events",
        type=int,
        metavar="N",
        help="events to send (100000; chaos: 20000; trickle-outage: 400; dead-key: 1200; "
        "partial-outage: 4000; two-dependencies: 3600; crash-loop, blocked-loop: 1500; "
        "recreated-hub, expired, clock-back, readonly-failover, no-replicas, muted: 3000)",
    )
    add(
        "--keys",
        type=int,
        metavar="N",
        help="partition keys, each with its own counter (100; chaos: random)",
    )
    add(
        "--poison-every",
        type=int,
        metavar="N",
        help="scenario outage: one poison event in N (2000)",
    )
    add(
        "--outage-after",
        type=int,
        metavar="N",
        help="start the scenario's outage after N handled events (20000)",
    )
    add(
        "--down",
        dest="down_seconds",
        type=float,
        metavar="S",
        help="partial-outage, two-dependencies: seconds of the outage (random)",
    )
    add(
        "--second-act",
        action="store_true",
        default=None,
        help="scenario outage: afterwards, a dependency of some keys fails for some seconds",
    )
    add(
        "--approve-after",
        dest="approve_after_seconds",
        type=float,
        metavar="S",
        help="seconds before the operator approves (5; chaos: 1)",
    )
    add(
        "--approve",
        type=ApproveWith,
        choices=list(ApproveWith),
        help="how the operator approves (cli)",
    )
    add(
        "--no-console",
        dest="console",
        action="store_const",
        const=False,
        help="start the stack without the operator's console, for runs that open no circuit",
    )
    add(
        "--report",
        type=Path,
        metavar="FILE",
        help="report to write, with .html and .png beside it (out/report.json)",
    )
    add(
        "--json-only",
        action="store_true",
        default=None,
        help="write the JSON report without the page and the picture",
    )
    add(
        "--keep",
        action="store_true",
        default=None,
        help="start the stack in .local, and leave it up with the run's data",
    )
    add(
        "--target",
        type=Target,
        choices=list(Target),
        help="test a private stack, the running local stack, or Azure (local)",
    )
    add(
        "--endpoints",
        dest="endpoints_file",
        type=Path,
        metavar="FILE",
        help="endpoints of the running stack (.local/endpoints.json; azure: out/azure.env)",
    )
    add("--instances", type=int, metavar="N", help="function host processes (1; chaos: random)")
    add("--partitions", type=int, metavar="N", help="event hub partitions (4; chaos: random)")
    add("--app", type=Path, metavar="DIR", help="function app to host (this repository's)")
    add("--set", action="append", metavar="NAME=VALUE", help="app setting; may be repeated")
    add(
        "--kill-after",
        type=int,
        metavar="N",
        help="kill one host instance with SIGKILL after N handled events",
    )
    add(
        "--faults",
        action="store_true",
        default=None,
        help=f"inject the faults that --seed draws ({', '.join(sorted(PLANNED))}: always)",
    )
    add(
        "--rate",
        dest="rate_per_second",
        type=float,
        metavar="N",
        help="events sent per second (0: as fast as possible; chaos: 1000; trickle-outage: 10; "
        "dead-key: 40; partial-outage, two-dependencies: 80; crash-loop, blocked-loop: 60; "
        "recreated-hub, expired, clock-back: 300; readonly-failover, no-replicas, muted: 150)",
    )
    add("--events-per-batch", type=int, metavar="N", help="events of one key per batch (40)")
    add(
        "--timeout",
        dest="timeout_seconds",
        type=float,
        metavar="S",
        help="give up after S seconds (600; chaos: 240)",
    )
    add(
        "--stall",
        dest="stall_seconds",
        type=float,
        metavar="S",
        help="give up after S seconds without progress (60)",
    )
    add(
        "--lease",
        dest="lease_seconds",
        type=float,
        metavar="S",
        help="seconds until a silent host's partition leases expire (10; chaos: 5)",
    )
    add(
        "--seed",
        type=int,
        metavar="N",
        help="random seed for the poison events and the chaos plan (0)",
    )
    _add_sweep(commands)
    return parser


def _add_sweep(commands: Any) -> None:
    sweep = commands.add_parser(
        "chaos-sweep",
        help="run many seeds with faults and print a table",
        description="Run each seed with the faults that it draws and print a table. The seeds are "
        "dealt to the scenarios in turn. Reports, logs and the table (sweep.json) go to the "
        "directory. The exit code is 0 if every run kept every promise.",
    )
    add = sweep.add_argument
    add("--seeds", required=True, metavar="A-B", help="seeds to run, such as 1-25 or 3,5,7")
    add("--scenarios", metavar="NAMES", help="all, or names such as outage,seed (chaos)")
    add("--jobs", type=int, metavar="N", help="runs at the same time (1)")
    add(
        "--reports",
        dest="directory",
        type=Path,
        metavar="DIR",
        help="directory for one report per seed (out/chaos)",
    )
    add("--events", type=int, metavar="N", help="events per run (20000)")
    add(
        "--rate",
        dest="rate_per_second",
        type=float,
        metavar="N",
        help="events sent per second (1000)",
    )
    add("--app", type=Path, metavar="DIR", help="function app to host (this repository's)")
    add("--set", action="append", metavar="NAME=VALUE", help="app setting; may be repeated")
