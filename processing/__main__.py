"""Operator CLI: poisoned and parked events, partitions, rewinds, and the app's stop and start.

The CLI reads the app settings from the environment, or from the "Values" of a
`local.settings.json`. Exit codes: 0 done; 1 a request was refused, an event failed again, or a
service did not answer; 2 a wrong argument or setting; 130 interrupted.
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
from processing.cli import app, migrate, parked, partitions, poison, redrive, rewind
from processing.errors import HandlerLoadError, ProcessingError


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="read the settings from this local.settings.json instead of the environment",
    )
    top = argparse.ArgumentParser(
        prog="python -m processing", description=__doc__.partition("\n")[0]
    )
    commands = top.add_subparsers(dest="command", required=True)
    for command in (redrive, poison, parked, partitions, rewind, migrate, app):
        command.add(commands, common)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the CLI and return its exit code."""
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
        # The reader of the output (`| head`) has closed the pipe; the flush at exit must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
