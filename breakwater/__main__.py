"""The command line `breakwater`, also `python -m breakwater`."""

from __future__ import annotations

import breaker.configuration.interrupts  # first, so that Ctrl-C is quiet
import breaker.configuration.needs_click  # noqa: F401

# isort: split
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from breaker.configuration.command_line import run
from breaker.configuration.version import VERSION
from breakwater.commands import Breakwater
from breakwater.completion import answered


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    # A redrive loads the handler, which is in the folder of the app. The folder comes last, so that
    # it hides no installed package.
    here = Path.cwd()
    if not any(Path(each or here).resolve() == here for each in sys.path):
        sys.path.append(str(here))
    command = Breakwater()
    click.version_option(VERSION, prog_name="breakwater", message="%(prog)s %(version)s")(command)
    return 0 if answered(command) else run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
