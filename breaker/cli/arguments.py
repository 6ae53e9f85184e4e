"""The arguments of `python -m breaker`."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path

from breaker.duration import FORMS, parse_duration


def parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Args:
        description: a line about the command line.
    """
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="read settings from this local.settings.json instead of the environment",
    )
    common.add_argument(
        "--dependency",
        metavar="NAME",
        help="the circuit of this dependency instead of the app's own",
    )
    top = argparse.ArgumentParser(prog="python -m breaker", description=description)
    commands = top.add_subparsers(dest="command", required=True)

    status = commands.add_parser(
        "status", parents=[common], help="show the circuit, and those of all dependencies"
    )
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
        help="hold all events, or those of --dependency, until the end of --for or until `close`",
        description="Hold all events, or with --dependency those that need the dependency, until "
        "the end of --for or, without --for, until `close`. At the end a circuit that was closed "
        "is closed again; otherwise the circuit opens again, with an alert. Isolating an isolated "
        "circuit replaces its reason and its end.",
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
