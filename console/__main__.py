"""`python -m console`: the command that serves the console."""

from __future__ import annotations

import breaker.configuration.interrupts  # noqa: F401 - first, so that Ctrl-C is quiet

# isort: split
import sys
from collections.abc import Sequence

from breaker.configuration.command_line import run
from console.command import console


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code."""
    return run(console, arguments, prog="python -m console")


if __name__ == "__main__":
    sys.exit(main())
