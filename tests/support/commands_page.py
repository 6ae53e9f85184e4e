"""The reference part of docs/commands.md, made from the commands themselves.

`python -m tests.support.commands_page` writes the part into the page again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import fill

import click

from breakwater.commands import Breakwater

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
BEGINNING = "## Each command\n"


def reference() -> str:
    """Return the reference of all commands of the product's own wheel."""
    root = Breakwater([])
    with click.Context(root, info_name="breakwater") as context:
        parts = [
            "\n".join(_command(command, context))
            for name in root.list_commands(context)
            if (command := root.get_command(context, name)) is not None
        ]
    return BEGINNING + "\n" + "\n\n".join(parts) + "\n"


def _command(command: click.Command, parent: click.Context) -> Iterator[str]:
    with click.Context(command, info_name=command.name, parent=parent) as context:
        if isinstance(command, click.Group):
            found = (command.get_command(context, name) for name in command.list_commands(context))
            yield "\n\n".join("\n".join(_command(each, context)) for each in found if each)
            return
        arguments = [each for each in command.params if isinstance(each, click.Argument)]
        names = "".join(f" {each.make_metavar(context)}" for each in arguments)
        yield f"### `{context.command_path}{names}`\n"
        for paragraph in (command.help or "").split("\n\n"):
            if paragraph.startswith("\b\n"):  # click keeps the lines of such a paragraph
                yield f"```{paragraph.removeprefix('\b').rstrip()}\n```\n"
                continue
            yield fill(" ".join(paragraph.split()), 119, break_on_hyphens=False) + "\n"
        options = [each for each in command.params if isinstance(each, click.Option)]
        if options:
            yield "| option | meaning |\n|---|---|"
        for each in options:
            value = "" if each.is_flag else f" {each.make_metavar(context)}"
            needed = " Required." if each.required else ""
            yield f"| `{each.opts[-1]}{value}` | {each.help}{needed} |"


def main() -> None:
    """Write the reference into the page."""
    text = PAGE.read_text()
    PAGE.write_text(text[: text.index(BEGINNING)] + reference())


if __name__ == "__main__":
    main()
