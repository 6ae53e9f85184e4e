"""The commands `loadtest run` and `loadtest chaos-sweep`: options to settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from breaker.configuration.command_line import EXIT_CODES, CommandGroup, exit_codes
from loadtest.errors import LoadTestError, UsageError
from loadtest.options import run_options, sweep_options
from loadtest.plan.chaos_settings import chaos_settings
from loadtest.plan.second_act import APP_SETTINGS
from loadtest.plan.settings import PLANNED, ApproveWith, Scenario, Settings, Target
from loadtest.sweep import Sweep, parse_scenarios, parse_seeds

CODES: Mapping[type[Exception], int] = {UsageError: 2, LoadTestError: 1}
"""The exit codes of the load test's errors."""


@click.command("run", epilog=EXIT_CODES)
@run_options
@exit_codes(CODES)
def run(**values: Any) -> Settings:
    """Send ordered events, inject faults, verify the result from the outside.

    The scenario names the faults. The command fails if a promise was broken.
    """
    chosen = _chosen(values)
    for name, kind in (("scenario", Scenario), ("approve", ApproveWith), ("target", Target)):
        if name in chosen:
            chosen[name] = kind(chosen[name])
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


@click.command("chaos-sweep", epilog=EXIT_CODES)
@sweep_options
@exit_codes(CODES)
def chaos_sweep(**values: Any) -> Sweep:
    """Run many seeds with faults and print a table.

    The seeds are dealt to the scenarios in turn. Reports, logs and the table (sweep.json) go to
    the directory. The command fails unless every run kept every promise.
    """
    chosen = _chosen(values)
    directory = chosen.pop("directory", Path("out/chaos"))
    scenarios = parse_scenarios(chosen.pop("scenarios", Scenario.CHAOS.value))
    jobs = chosen.pop("jobs", 1)
    return Sweep(parse_seeds(chosen.pop("seeds")), scenarios, directory, jobs, chosen)


def group(execute: Callable[..., Any] | None = None) -> CommandGroup:
    """Return the command `loadtest`.

    Args:
        execute: called with the settings of a run, or with a sweep; None returns them.
    """
    return CommandGroup(
        "loadtest",
        commands=[run, chaos_sweep],
        result_callback=execute,
        help="Test the app with ordered events and faults, and verify each event's result.",
        epilog=EXIT_CODES,
    )


def parse(arguments: Sequence[str]) -> Settings | Sweep:
    """Return the settings of one run, or a sweep, from a command line without the program's name.

    Raises:
        UsageError: an option is unknown or has an invalid value; the message names the option.
    """
    commands = group()
    try:
        with commands.make_context("loadtest", list(map(str, arguments))) as context:
            asked: Settings | Sweep = commands.invoke(context)
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error
    return asked


def _chosen(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given; the others keep the defaults of their scenario."""
    chosen = {name: value for name, value in values.items() if value is not None}
    chosen["app_settings"] = MappingProxyType(dict(map(_change, chosen.pop("set"))))
    return chosen


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
