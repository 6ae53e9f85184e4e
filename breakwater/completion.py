"""`breakwater completion`, which prints what a shell needs to complete the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click
from click.shell_completion import get_completion_class, shell_complete

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_BREAKWATER_COMPLETE"
"""The environment variable by which the shell asks for completions."""


@click.command(short_help="Print the completion for a shell.")
@click.argument("shell", type=click.Choice(SHELLS), metavar="bash|zsh|fish")
def completion(shell: str) -> None:
    """Print the script that completes `breakwater` in a shell.

    \b
    bash: breakwater completion bash > ~/.local/share/bash-completion/completions/breakwater
    zsh:  breakwater completion zsh > a file _breakwater in a folder of $fpath
    fish: breakwater completion fish > ~/.config/fish/completions/breakwater.fish
    """  # noqa: D301 - click replaces the character, not its spelling
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell} is no shell that can be completed")
    context = click.get_current_context()
    click.echo(kind(context.find_root().command, {}, "breakwater", VARIABLE).source())


def answered(command: click.Command, environment: Mapping[str, str] = os.environ) -> bool:
    """Answer the shell if it asks for completions; return whether it asked.

    Args:
        command: the command line to complete.
        environment: has `VARIABLE` if the shell asks.
    """
    if not (instruction := environment.get(VARIABLE)):
        return False
    shell_complete(command, {}, "breakwater", VARIABLE, instruction)
    return True
