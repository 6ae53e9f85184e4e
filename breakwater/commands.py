"""The one command `breakwater`: its commands by name, loaded at their first use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

import click
from click.shell_completion import CompletionItem

from breaker.configuration.command_line import EXIT_CODES, CommandGroup, Refused
from breaker.configuration.one_line import escaped

GROUP = "breakwater.commands"
"""The group of entry points with further commands; the name is the command's."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the help.

    Attributes:
        names: the commands of the line.
        text: what they do.
        home: the module of the commands, whose attributes have their names; "" if entry points
            bring them.
    """

    names: tuple[str, ...]
    text: str
    home: str = ""


_CIRCUIT = "breaker.cli.commands"

SECTIONS: Mapping[str, tuple[Line, ...]] = {
    "circuit": (
        Line(("status",), "Show the circuit, and those of all dependencies.", _CIRCUIT),
        Line(("history",), "List the changes: when, by whom, why.", _CIRCUIT),
        Line(("approve",), "Make the open circuit half-open: probes run.", _CIRCUIT),
        Line(("close",), "Close the circuit at once, without probes.", _CIRCUIT),
        Line(("isolate",), "Hold all events, or a dependency's.", _CIRCUIT),
    ),
    "app": (
        Line(("health",), "Show whether the app is healthy, and why not.", "processing.cli.health"),
        Line(("start", "stop"), "Ask Azure to start or stop the app.", "processing.cli.app"),
    ),
    "events": (
        Line(("partitions",), "List lag, parked and expired events.", "processing.cli.partitions"),
        Line(("poison",), "List, show or discard poisoned events.", "processing.cli.poison"),
        Line(("redrive",), "Replay poisoned and parked events.", "processing.cli.redrive"),
        Line(("parked",), "List waiting keys; free a partition.", "processing.cli.parked"),
        Line(("rewind",), "Process events again from a number on.", "processing.cli.rewind"),
        Line(("migrate",), "Take over the data of version 0.1.", "processing.cli.migrate"),
    ),
    "local": (
        Line(("up", "down", "stack"), "Start, stop or show the local stack."),
        Line(("host",), "Run the app on the local stack."),
        Line(("console",), "Serve the operator's page."),
        Line(("loadtest", "bench"), "Test under load; measure."),
    ),
    "shell": (Line(("completion",), "Print the completion for a shell.", "breakwater.completion"),),
}
"""The known commands. The texts stand here, so that the help loads no command."""

KNOWN = tuple(name for section in SECTIONS.values() for line in section for name in line.names)

_LEFT, _MIDDLE = 9, 17


class Breakwater(CommandGroup):
    """The group of all commands: those of this package, and those of installed entry points.

    Args:
        brought: the entry points; a name of this package's own command is ignored.
    """

    def __init__(self, brought: Iterable[EntryPoint] | None = None) -> None:
        super().__init__("breakwater", help="Operate an app: its circuit, events and instances.")
        lines = [line for section in SECTIONS.values() for line in section]
        self._homes = {name: line.home for line in lines if line.home for name in line.names}
        found = entry_points(group=GROUP) if brought is None else brought
        self._brought = {each.name: each for each in found if each.name not in self._homes}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        known = [name for name in KNOWN if name in self._homes or name in self._brought]
        return known + self._further()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name.

        Raises:
            click.UsageError: there is no such command, or the package that has it is missing.
        """
        if args[0] in KNOWN and args[0] not in self._homes and args[0] not in self._brought:
            raise click.UsageError(
                f'{args[0]} is in another package: pip install "breakwater[local]"', ctx
            )
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load and return a command; None if there is no such command.

        Raises:
            Refused: an installed package names a command that cannot be loaded.
        """
        if home := self._homes.get(cmd_name):
            command = getattr(import_module(home), cmd_name)
        elif point := self._brought.get(cmd_name):
            command = _load(point)
        else:
            return None
        if not isinstance(command, click.Command):
            raise Refused(
                f"the command {cmd_name} cannot be loaded: {command!r:.100} is no command"
            )
        return command

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help, which fits a screen of 80 columns and 24 lines."""
        formatter.write(
            "Usage: breakwater COMMAND [OPTIONS]    (`breakwater COMMAND --help` shows them)\n\n"
        )
        for section, lines in SECTIONS.items():
            label = section
            for line in lines:
                names = [name for name in line.names if line.home or name in self._brought]
                if names:
                    self._write(formatter, label, ", ".join(names), line.text)
                    label = ""
        label = "more"
        for name in self._further():
            self._write(formatter, label, name, self._text(ctx, name))
            label = ""
        formatter.write("\n")
        formatter.write_text(EXIT_CODES)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin with a text, without loading them."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [*map(CompletionItem, names), *click.Command.shell_complete(self, ctx, incomplete)]

    def _further(self) -> list[str]:
        """Return the names that this module does not know."""
        return sorted(self._brought.keys() - set(KNOWN))

    def _text(self, ctx: click.Context, name: str) -> str:
        """Return the text of a command that this package does not know."""
        try:
            command = self.get_command(ctx, name)
        except Refused as error:
            return escaped(error.format_message().partition("\n")[0])
        return command.get_short_help_str(52) if command is not None else ""

    @staticmethod
    def _write(formatter: click.HelpFormatter, label: str, names: str, text: str) -> None:
        formatter.write(f"{label:<{_LEFT}}{names:<{_MIDDLE}}{text}\n")


def _load(point: EntryPoint) -> object:
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        package = f" of {point.dist.name}" if point.dist is not None else ""
        raise Refused(
            f"the command {point.name}{package} cannot be loaded: {point.value}: "
            f"{type(error).__name__}: {error}"
        ) from error
