"""`python -m local up|down|status|host`: the whole system on one machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from local.command import down, host, stack, up

_PROGRAM = "python -m local"


@click.group(help=__doc__)
def commands() -> None:
    """Group the commands; `status` is the stack's status."""


commands.add_command(up)
commands.add_command(down)
commands.add_command(stack, "status")
commands.add_command(host)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        code: int = commands.main(
            list(sys.argv[1:] if arguments is None else arguments),
            prog_name=_PROGRAM,
            standalone_mode=False,
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OSError as error:
        print(f"{_PROGRAM}: {error}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    raise SystemExit(main())
