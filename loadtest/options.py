"""The options of the load test's commands; an option without a value keeps its default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from loadtest.plan.settings import PLANNED, ApproveWith, Scenario, Target

_RUN = (
    click.option(
        "--scenario",
        type=click.Choice([each.value for each in Scenario]),
        help="Faults to inject (outage).",
    ),
    click.option(
        "--events",
        type=int,
        metavar="N",
        help="Events to send (100000; chaos: 20000; trickle-outage: 400; dead-key: 1200; "
        "partial-outage: 4000; two-dependencies: 3600; "
        "two-pipelines: 3000 each; lists: 6000; crash-loop, blocked-loop: 1500; "
        "recreated-hub, expired, clock-back, readonly-failover, no-replicas, muted: 3000).",
    ),
    click.option(
        "--keys",
        type=int,
        metavar="N",
        help="Partition keys, each with its own counter (100; chaos: random).",
    ),
    click.option(
        "--poison-every",
        type=int,
        metavar="N",
        help="With outage: one poison event in N (2000).",
    ),
    click.option(
        "--outage-after",
        type=int,
        metavar="N",
        help="Start the scenario's outage after N handled events (20000).",
    ),
    click.option(
        "--down",
        "down_seconds",
        type=float,
        metavar="S",
        help="With partial-outage, two-dependencies: seconds of the outage (random).",
    ),
    click.option(
        "--second-act",
        is_flag=True,
        default=None,
        help="With outage: afterwards, a dependency of some keys fails for some seconds.",
    ),
    click.option(
        "--approve-after",
        "approve_after_seconds",
        type=float,
        metavar="S",
        help="Seconds before the operator approves (5; chaos: 1).",
    ),
    click.option(
        "--approve",
        type=click.Choice([each.value for each in ApproveWith]),
        help="How the operator approves (cli).",
    ),
    click.option(
        "--no-console",
        "console",
        is_flag=True,
        flag_value=False,
        default=None,
        help="Start the stack without the operator's console, for runs that open no circuit.",
    ),
    click.option(
        "--report",
        type=Path,
        metavar="FILE",
        help="Report to write, with .html and .png beside it (out/report.json).",
    ),
    click.option(
        "--json-only",
        is_flag=True,
        default=None,
        help="Write the JSON report without the page and the picture.",
    ),
    click.option(
        "--keep",
        is_flag=True,
        default=None,
        help="Start the stack in .local, and leave it up with the run's data.",
    ),
    click.option(
        "--target",
        type=click.Choice([each.value for each in Target]),
        help="Test a private stack, the running local stack, or Azure (local).",
    ),
    click.option(
        "--endpoints",
        "endpoints_file",
        type=Path,
        metavar="FILE",
        help="Endpoints of the running stack (.local/endpoints.json; azure: out/azure.env).",
    ),
    click.option(
        "--instances", type=int, metavar="N", help="Function host processes (1; chaos: random)."
    ),
    click.option(
        "--partitions", type=int, metavar="N", help="Event hub partitions (4; chaos: random)."
    ),
    click.option(
        "--app", type=Path, metavar="DIR", help="Function app to host (this repository's)."
    ),
    click.option(
        "--set", multiple=True, metavar="NAME=VALUE", help="App setting; may be repeated."
    ),
    click.option(
        "--kill-after",
        type=int,
        metavar="N",
        help="Kill one host instance with SIGKILL after N handled events.",
    ),
    click.option(
        "--faults",
        is_flag=True,
        default=None,
        help=f"Inject the faults that --seed draws ({', '.join(sorted(PLANNED))}: always).",
    ),
    click.option(
        "--rate",
        "rate_per_second",
        type=float,
        metavar="N",
        help="Events sent per second (0: as fast as possible; chaos: 1000; trickle-outage: 10; "
        "dead-key: 40; partial-outage, two-dependencies: 80; "
        "two-pipelines: 120 each; lists: 400; crash-loop, blocked-loop: 60; "
        "recreated-hub, expired, clock-back: 300; readonly-failover, no-replicas, muted: 150).",
    ),
    click.option(
        "--events-per-batch", type=int, metavar="N", help="Events of one key per batch (40)."
    ),
    click.option(
        "--timeout",
        "timeout_seconds",
        type=float,
        metavar="S",
        help="Give up after S seconds (600; chaos: 240).",
    ),
    click.option(
        "--stall",
        "stall_seconds",
        type=float,
        metavar="S",
        help="Give up after S seconds without progress (60).",
    ),
    click.option(
        "--lease",
        "lease_seconds",
        type=float,
        metavar="S",
        help="Seconds until a silent host's partition leases expire (10; chaos: 5).",
    ),
    click.option(
        "--seed",
        type=int,
        metavar="N",
        help="Random seed for the poison events and the chaos plan (0).",
    ),
)

_SWEEP = (
    click.option(
        "--seeds", required=True, metavar="A-B", help="Seeds to run, such as 1-25 or 3,5,7."
    ),
    click.option("--scenarios", metavar="NAMES", help="All, or names such as outage,seed (chaos)."),
    click.option("--jobs", type=int, metavar="N", help="Runs at the same time (1)."),
    click.option(
        "--reports",
        "directory",
        type=Path,
        metavar="DIR",
        help="Directory for one report per seed (out/chaos).",
    ),
    click.option("--events", type=int, metavar="N", help="Events per run (20000)."),
    click.option(
        "--rate",
        "rate_per_second",
        type=float,
        metavar="N",
        help="Events sent per second (1000).",
    ),
    click.option(
        "--app", type=Path, metavar="DIR", help="Function app to host (this repository's)."
    ),
    click.option(
        "--set", multiple=True, metavar="NAME=VALUE", help="App setting; may be repeated."
    ),
)


def run_options[Function: Callable[..., Any]](function: Function) -> Function:
    """Add the options of one run."""
    for option in reversed(_RUN):
        function = option(function)
    return function


def sweep_options[Function: Callable[..., Any]](function: Function) -> Function:
    """Add the options of a sweep."""
    for option in reversed(_SWEEP):
        function = option(function)
    return function
