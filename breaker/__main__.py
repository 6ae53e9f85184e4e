"""Show a circuit and its history; approve, close or isolate it.

The CLI reads REDIS_URL, BREAKER_* and EVENT_GRID_TOPIC_* from the environment, or from the "Values"
of a `local.settings.json`. The exit code is 1 if the command was refused or Redis did not answer,
and 2 if an argument or a setting was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from breaker.alerts.base import AlertPublisher
from breaker.circuit import CircuitBreaker
from breaker.configuration.local_settings import read_settings
from breaker.duration import FORMS, format_duration, parse_duration
from breaker.errors import BreakerError, SettingsError, StoreUnavailableError
from breaker.settings import BreakerSettings, Mode
from breaker.state import PROBE_FAILURES, Circuit, CircuitState, HistoryEntry
from breaker.stores.redis import RedisCircuitStore

_TIME_FIELDS: Mapping[str, Any] = {
    "as_of": None,
    "retry_after": None,
    "failed_attempts": 0,
    "last_success_at": None,
}
"""Fields that differ between two snapshots of an unchanged circuit, or change all the time."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="read settings from this local.settings.json instead of the environment",
    )
    top = argparse.ArgumentParser(prog="python -m breaker", description=__doc__.partition("\n")[0])
    commands = top.add_subparsers(dest="command", required=True)

    status = commands.add_parser("status", parents=[common], help="show the circuit")
    status.add_argument(
        "--watch", action="store_true", help="print each change until interrupted with Ctrl-C"
    )
    _add_json(status)

    history = commands.add_parser(
        "history", parents=[common], help="list the changes: when, by whom, why"
    )
    history.add_argument(
        "--limit",
        type=_positive,
        default=20,
        metavar="N",
        help="number of entries (default: %(default)s)",
    )
    _add_json(history)

    for name, text in (
        ("approve", "make the open circuit half-open, so that probe events run"),
        ("close", "close the circuit at once, without probes"),
    ):
        command = commands.add_parser(name, parents=[common], help=text)
        command.add_argument(
            "--generation",
            type=_positive,
            required=True,
            metavar="N",
            help="the current generation, as alerts and `status` show it",
        )
        _add_by(command)
        if name == "close":
            _add_reason(command)
    isolate = commands.add_parser(
        "isolate",
        parents=[common],
        help="hold all events until the end of --for, or until `close`",
        description="Hold all events until the end of --for or, without --for, until `close`. At "
        "the end a circuit that was closed is closed again; otherwise the circuit opens again, so "
        "that an operator is asked. Isolating an isolated circuit replaces its reason and its end.",
    )
    isolate.add_argument(
        "--for",
        type=_duration,
        dest="for_seconds",
        metavar="TIME",
        help="length of the isolation: " + FORMS,
    )
    isolate.add_argument(
        "--reason", type=_text, required=True, metavar="TEXT", help="reason for the history"
    )
    _add_by(isolate)
    return top


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object per line")


def _add_by(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--by",
        default=_user(),
        metavar="NAME",
        help="name for the history (default: the current user)",
    )


def _add_reason(command: argparse.ArgumentParser) -> None:
    command.add_argument("--reason", default="", metavar="TEXT", help="reason for the history")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _duration(text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _text(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: it takes a text for the history")
    return text.strip()


def build(values: Mapping[str, str]) -> CircuitBreaker:
    """Return the breaker that the settings describe; it connects on first use."""
    url = values.get("REDIS_URL", "")
    if not url:
        raise SettingsError("REDIS_URL is not set: it takes redis://host:port/db or rediss://...")
    # Only instances that process events judge a standstill: a command line may have other settings
    # than the app, and its look must not open the circuit.
    settings = replace(BreakerSettings.from_mapping(values), standstill_failures=0)
    store = RedisCircuitStore.from_settings(url, settings)
    return CircuitBreaker(store, settings, publisher=_publisher(values))


def _publisher(values: Mapping[str, str]) -> AlertPublisher | None:
    endpoint = values.get("EVENT_GRID_TOPIC_ENDPOINT", "")
    if not endpoint:
        return None
    from breaker.alerts.event_grid import EventGridPublisher  # noqa: PLC0415 - loads an Azure SDK

    return EventGridPublisher(endpoint, key=values.get("EVENT_GRID_TOPIC_KEY"))


async def run(arguments: argparse.Namespace) -> None:
    """Run the command of a parsed command line."""
    breaker = build(read_settings(arguments.settings))
    try:
        match arguments.command:
            case "status":
                await _status(breaker, watch=arguments.watch, as_json=arguments.json)
            case "history":
                entries = await breaker.history(arguments.limit)
                for entry in reversed(entries):
                    print(json.dumps(asdict(entry)) if arguments.json else _history_line(entry))
                if not entries and not arguments.json:
                    print("No changes")
            case "approve":
                print(_change_line(await breaker.approve(arguments.generation, arguments.by)))
            case "close":
                circuit = await breaker.close_circuit(
                    arguments.generation, arguments.by, arguments.reason
                )
                print(_change_line(circuit))
            case "isolate":
                circuit = await breaker.isolate(
                    arguments.by, arguments.reason, arguments.for_seconds
                )
                print(_change_line(circuit))
                print(_next_state(circuit))
    finally:
        await breaker.aclose()


async def _status(breaker: CircuitBreaker, *, watch: bool, as_json: bool) -> None:
    circuit = await breaker.refresh()
    if circuit.degraded and not watch:
        await breaker.history(1)  # raises an error with the reason of the outage
        raise StoreUnavailableError(
            "Redis was unreachable for a moment, so the state could not be read; "
            "run the command again"
        )
    mode = breaker.settings.mode
    print(_as_json(circuit, mode) if as_json else _table(circuit, mode), flush=True)
    if watch:
        await breaker.start()
    while watch:
        known = circuit
        await breaker.wait_for_change(known, timeout=breaker.settings.poll_seconds)
        circuit = breaker.circuit
        if replace(circuit, **_TIME_FIELDS) == replace(known, **_TIME_FIELDS):
            continue
        print(_as_json(circuit, mode) if as_json else _change_line(circuit), flush=True)


def _as_json(circuit: Circuit, mode: Mode) -> str:
    return json.dumps(asdict(circuit) | {"mode": mode})


def _table(circuit: Circuit, mode: Mode) -> str:
    rows = {
        "circuit": circuit.name,
        "state": f"{circuit.state} (generation {circuit.generation})",
        "reason": circuit.reason or "-",
        "failures": f"{circuit.failures} of {circuit.failure_threshold} "
        f"in {circuit.window_seconds:g} s",
        "attempts": f"{circuit.failed_attempts} failed since the last success "
        f"({_when(circuit.last_success_at)})",
        "opened": _when(circuit.opened_at),
        "changed": _when(circuit.changed_at) + (f" by {circuit.by}" if circuit.by else ""),
    }
    if mode is Mode.OBSERVE:
        rows["mode"] = "observe: no rule opens the circuit; the history says when one would have"
    if circuit.retry_after is not None or circuit.state is CircuitState.ISOLATED:
        rows["next state"] = _next_state(circuit)
    if circuit.state == "half_open":
        failed = f"{circuit.probe_failures} of {PROBE_FAILURES} failed"
        rows["probes"] = f"{circuit.probe_successes} succeeded, {failed}"
    return "\n".join(f"{name:<10} {value}" for name, value in rows.items())


def _next_state(circuit: Circuit) -> str:
    """Return which state follows an open or isolated state, and when."""
    if circuit.state is CircuitState.CLOSED:
        return "closed"
    if circuit.retry_after is None:
        return f"`close --generation {circuit.generation}` ends the isolation"
    if circuit.state is not CircuitState.ISOLATED:
        return f"half-open in {circuit.retry_after:.0f} s"
    after = (
        "closed" if circuit.ends_as is CircuitState.CLOSED else "open, which asks for an approval,"
    )
    ends = f"in {format_duration(circuit.retry_after)} ({_when(circuit.resume_at)})"
    return f"{after} {ends}; `close --generation {circuit.generation}` ends the isolation earlier"


def _change_line(circuit: Circuit) -> str:
    degraded = " (Redis does not answer)" if circuit.degraded else ""
    return (
        f"{_when(circuit.as_of)}  {circuit.name}: {circuit.state}{degraded}, "
        f"generation {circuit.generation}, "
        f"{circuit.failures}/{circuit.failure_threshold} failures: {circuit.reason or '-'}"
    )


def _history_line(entry: HistoryEntry) -> str:
    change = f"{entry.event} by {entry.by}" if entry.by else entry.event
    why = f": {entry.reason}" if entry.reason not in {"", change} else ""
    return f"{_when(entry.at)}  {entry.generation:>4}  {change}{why}  [{entry.instance}]"


def _when(at: float | None) -> str:
    if at is None:
        return "-"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the CLI and return the exit code."""
    arguments = parser().parse_args(argv)
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
