"""Show a circuit and its history; approve, close or isolate it.

The CLI reads REDIS_URL, BREAKER_*, DEPENDENCY_* and EVENT_GRID_TOPIC_* from the environment, or
from the "Values" of a `local.settings.json`. Without --dependency a command is about the app's own
circuit. The exit code is 1 if the command was refused or Redis did not answer, and 2 if an argument
or a setting was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from breaker.circuit import CircuitBreaker
from breaker.cli.arguments import parser
from breaker.cli.circuits import Circuits, opened
from breaker.cli.lines import (
    as_json,
    change_line,
    dependency_lines,
    history_line,
    next_state,
    table,
)
from breaker.configuration.local_settings import read_settings
from breaker.errors import BreakerError, SettingsError, StoreUnavailableError

_TIME_FIELDS: Mapping[str, Any] = {
    "as_of": None,
    "retry_after": None,
    "failed_attempts": 0,
    "last_success_at": None,
}
"""Fields that differ between two snapshots of an unchanged circuit, or change all the time."""


async def run(arguments: argparse.Namespace) -> None:
    """Run the command of a parsed command line."""
    async with opened(read_settings(arguments.settings)) as circuits:
        if arguments.command == "status":
            await _status(
                circuits, arguments.dependency, watch=arguments.watch, as_lines=not arguments.json
            )
            return
        breaker = await circuits.named(arguments.dependency)
        match arguments.command:
            case "history":
                entries = await breaker.history(arguments.limit)
                for entry in reversed(entries):
                    print(json.dumps(asdict(entry)) if arguments.json else history_line(entry))
                if not entries and not arguments.json:
                    print("No changes")
            case "approve":
                print(change_line(await breaker.approve(arguments.generation, arguments.by)))
            case "close":
                circuit = await breaker.close_circuit(
                    arguments.generation, arguments.by, arguments.reason
                )
                print(change_line(circuit))
            case "isolate":
                circuit = await breaker.isolate(
                    arguments.by, arguments.reason, arguments.for_seconds
                )
                print(change_line(circuit))
                print(next_state(breaker))


async def _status(
    circuits: Circuits, dependency: str | None, *, watch: bool, as_lines: bool
) -> None:
    breaker = await circuits.named(dependency)
    circuit = await breaker.refresh()
    if circuit.degraded and not circuit.problem and not watch:
        await breaker.history(1)  # raises an error with the reason of the outage
        raise StoreUnavailableError(
            "Redis was unreachable for a moment, so the state could not be read; "
            "run the command again"
        )
    others = None
    if dependency is None and not circuit.degraded:
        await circuits.dependencies.refresh()
        others = circuits.dependencies.circuits
    if as_lines:
        print("\n".join([table(breaker), *dependency_lines(others or {})]), flush=True)
    else:
        print(as_json(breaker, others), flush=True)
    if watch:
        await (breaker if dependency is None else circuits.dependencies).start()
        await _watch(breaker, as_lines=as_lines)


async def _watch(breaker: CircuitBreaker, *, as_lines: bool) -> None:
    """Print each change of a circuit, without end."""
    circuit = breaker.circuit
    while True:
        known = circuit
        await breaker.wait_for_change(known, timeout=breaker.settings.poll_seconds)
        circuit = breaker.circuit
        if replace(circuit, **_TIME_FIELDS) == replace(known, **_TIME_FIELDS):
            continue
        print(change_line(circuit) if as_lines else as_json(breaker), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the CLI and return the exit code."""
    arguments = parser((__doc__ or "").partition("\n")[0]).parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("breaker.circuit").setLevel(logging.ERROR)
    logging.getLogger("breaker.stores.outage").setLevel(logging.CRITICAL)
    try:
        asyncio.run(run(arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of the pipe has exited; without this, flushing at exit raises again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (BreakerError, ValueError) as error:
        print(f"breaker: {error}", file=sys.stderr)
        refused = isinstance(error, BreakerError) and not isinstance(error, SettingsError)
        return 1 if refused else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
