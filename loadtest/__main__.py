"""The command `python -m loadtest run|chaos-sweep`; it exits with 0 if every promise was kept."""

from __future__ import annotations

import breaker.configuration.interrupts  # noqa: F401 - first, so that Ctrl-C is quiet

# isort: split
import sys
from collections.abc import Sequence

from breaker.configuration.command_line import run
from loadtest.command import loadtest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and return the exit code."""
    return run(loadtest, arguments, prog="python -m loadtest")


if __name__ == "__main__":
    sys.exit(main())
