"""Operator CLI: look at poisoned and parked events, replay them, and rewind.

Reads the app settings from the environment, or from the "Values" of a `local.settings.json`. Ends
with 1 if something was refused, failed again or did not answer, with 2 if the call or a setting was
wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import breaker
from breaker.configuration.errors import ConfigurationError
from breaker.configuration.local_settings import read_settings
from processing.cli import poison, redrive, rewind
from processing.errors import HandlerLoadError, ProcessingError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="a local.settings.json to read instead of the environment",
    )
    top = argparse.ArgumentParser(
        prog="python -m processing", description=__doc__.partition("\n")[0]
    )
    commands = top.add_subparsers(dest="command", required=True)
    for command in (redrive, poison, rewind):
        command.add(commands, common)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the CLI; the exit code."""
    command_line = parser()
    arguments = command_line.parse_args(argv)
    if check := getattr(arguments, "check", None):
        check(command_line, arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("azure").setLevel(logging.ERROR)
    try:
        code: int = asyncio.run(arguments.run(read_settings(arguments.settings), arguments))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read has gone
        return 0
    except (ConfigurationError, HandlerLoadError) as error:
        print(f"processing: {error}", file=sys.stderr)
        return 2
    except (ProcessingError, breaker.BreakerError, OSError, ValueError) as error:
        print(f"processing: {error}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
