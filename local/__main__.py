"""`python -m local up|down|status|host`: the whole system on one machine."""

from __future__ import annotations

import breaker.configuration.interrupts  # noqa: F401 - first, so that Ctrl-C is quiet

# isort: split
import sys
from collections.abc import Sequence

from breaker.configuration.command_line import EXIT_CODES, CommandGroup, run
from local.command import down, host, stack, up

_COMMANDS = CommandGroup(
    "local",
    commands={"up": up, "down": down, "status": stack, "host": host},
    help="The whole system on one machine.",
    epilog=EXIT_CODES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return run(_COMMANDS, arguments, prog="python -m local")


if __name__ == "__main__":
    sys.exit(main())
