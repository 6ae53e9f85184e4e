"""Show a circuit and its history; approve, close or isolate it.

`python -m breaker` has the circuit's commands of `breakwater`, and needs only this package. The
commands read REDIS_URL, BREAKER_*, DEPENDENCY_* and EVENT_GRID_TOPIC_* from the environment, or
from the "Values" of a `local.settings.json`. Without --dependency a command is about the app's own
circuit.
"""

from __future__ import annotations

import breaker.configuration.interrupts  # first, so that Ctrl-C is quiet
import breaker.configuration.needs_click  # noqa: F401

# isort: split
import sys
from collections.abc import Sequence

from breaker.cli.commands import approve, close, history, isolate, status
from breaker.configuration.command_line import EXIT_CODES, CommandGroup, has_terminal, run

COMMANDS = CommandGroup(
    commands=[status, history, approve, close, isolate],
    help=(__doc__ or "").partition("\n")[0],
    epilog=EXIT_CODES,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    # Scripts that called this command line before it asked have no terminal, and no --yes.
    unasked = not has_terminal()
    return run(COMMANDS, argv, prog="python -m breaker", defaults={"isolate": {"yes": unasked}})


if __name__ == "__main__":
    sys.exit(main())
