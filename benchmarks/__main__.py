"""`python -m benchmarks`: the command that runs benchmarks."""

from __future__ import annotations

import breaker.configuration.interrupts  # noqa: F401 - first, so that Ctrl-C is quiet

# isort: split
import sys
from collections.abc import Sequence

from benchmarks.command import bench
from breaker.configuration.command_line import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named benchmarks, or compare two results; return the exit code."""
    return run(bench, arguments, prog="python -m benchmarks")


if __name__ == "__main__":
    sys.exit(main())
