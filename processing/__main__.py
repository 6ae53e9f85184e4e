"""The operator's commands: poisoned and parked events, rewinds, the app's stop and start.

`python -m processing` has these commands of `breakwater`. They read the app settings from the
environment, or from the "Values" of a `local.settings.json`.
"""

from __future__ import annotations

import breaker.configuration.interrupts  # first, so that Ctrl-C is quiet
import breaker.configuration.needs_click  # noqa: F401

# isort: split
import sys
from collections.abc import Sequence

from breaker.configuration.command_line import EXIT_CODES, CommandGroup, has_terminal, run
from processing.cli.app import app
from processing.cli.migrate import migrate
from processing.cli.parked import parked
from processing.cli.partitions import partitions
from processing.cli.poison import poison
from processing.cli.redrive import redrive
from processing.cli.rewind import rewind

COMMANDS = CommandGroup(
    commands=[redrive, poison, parked, partitions, rewind, migrate, app],
    help=(__doc__ or "").partition("\n")[0],
    epilog=EXIT_CODES,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    # Scripts that called this command line before `app stop` asked have no terminal, and no --yes.
    unasked = not has_terminal()
    defaults = {"app": {"stop": {"yes": unasked}}}
    return run(COMMANDS, argv, prog="python -m processing", defaults=defaults)


if __name__ == "__main__":
    sys.exit(main())
