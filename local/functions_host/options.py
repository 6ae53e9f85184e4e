"""The options of a function host, which the supervisor's command and the instance share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from local.functions_host.triggers.event_hubs.balancing import Balancing
from local.functions_host.triggers.event_hubs.extension import (
    DEFAULT_EXTENSION,
    EXTENSIONS,
    Extension,
)
from local.state_directory import DEFAULT_STATE_DIR, StateDirectory

_DEFAULT = Balancing()
_SETTINGS = "local.settings.json"


@dataclass(frozen=True)
class HostOptions:
    """The options of the host instances of one site.

    Attributes:
        app: the folder with function_app.py.
        state_dir: the stack's directory, with the site's state.
        settings: a local.settings.json; None: the stack's, else the app's.
        instances: number of processes.
        port: HTTP port of the first instance; each other instance adds 1. 0: any free ports.
        grace: seconds that running functions get to end when a host stops.
        balancing: the intervals of the partitions' balancing.
        event_hubs_extension: the version of the Event Hubs extension whose form events have.
        lifeline: stop when standard input is closed.
        verbose: log every batch.
        reload: start again after a change of the app's files.
    """

    app: Path = Path()
    state_dir: Path = DEFAULT_STATE_DIR
    settings: Path | None = None
    instances: int = 1
    port: int = 7071
    grace: float = 10.0
    balancing: Balancing = field(default_factory=Balancing)
    event_hubs_extension: Extension = DEFAULT_EXTENSION
    lifeline: bool = False
    verbose: bool = False
    reload: bool = False

    @property
    def is_default_stack(self) -> bool:
        """Return whether the stack is that of the current folder."""
        return self.state_dir.absolute() == DEFAULT_STATE_DIR.absolute()

    def no_stack_hint(self) -> str:
        """Return a hint to start the stack; "" when the stack is up or `settings` is given."""
        if self.settings is not None or StateDirectory(self.state_dir.absolute()).is_locked():
            return ""
        option = "" if self.is_default_stack else f" --state-dir {self.state_dir}"
        return f"no local stack is up; start one with `breakwater up{option}`"

    def settings_file(self) -> Path | None:
        """Return the given settings file, else the stack's, else the app's; None without a file."""
        if self.settings is not None:
            return self.settings.absolute()
        folder = Path.cwd() if self.is_default_stack else self.state_dir.absolute()
        candidates = (folder / _SETTINGS, self.app.absolute() / _SETTINGS)
        return next((path for path in candidates if path.is_file()), None)


def seconds(text: str) -> float:
    """Parse a number of seconds from 0 to below 86400, such as `10` or `10s`.

    Raises:
        click.BadParameter: the text is no such number.
    """
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not 0 <= value < 86_400:
        raise click.BadParameter(f"{text!r} is not a number of seconds from 0 to below 86400")
    return value


def positive_seconds(text: str) -> float:
    """Parse a number of seconds above 0.

    Raises:
        click.BadParameter: the text is no such number.
    """
    value = seconds(text)
    if value == 0:
        raise click.BadParameter(f"{text!r} is not a number of seconds above 0")
    return value


def port_number(text: str) -> int:
    """Parse a port.

    Raises:
        click.BadParameter: the text is no port.
    """
    if not text.isdecimal() or int(text) > 65535:
        raise click.BadParameter(f"a port is 0 to 65535, not {text!r}")
    return int(text)


_LIFELINE = click.option("--lifeline", is_flag=True, help="Stop when standard input is closed.")
_SHARED = (
    click.option("--verbose", is_flag=True, help="Log every batch."),
    click.option(
        "--grace",
        type=seconds,
        default="10",
        metavar="SECONDS",
        show_default=True,
        help="Time that running functions get to end when a host stops.",
    ),
    click.option(
        "--balance-interval",
        type=positive_seconds,
        default=f"{_DEFAULT.interval_seconds:g}",
        metavar="SECONDS",
        show_default=True,
        help="Interval between balancing rounds of the partitions; on Azure 30.",
    ),
    click.option(
        "--lease",
        type=positive_seconds,
        default=f"{_DEFAULT.lease_seconds:g}",
        metavar="SECONDS",
        show_default=True,
        help="Time after which a dead instance loses its partitions; on Azure 120.",
    ),
    click.option(
        "--event-hubs-extension",
        type=click.Choice(EXTENSIONS),
        default=DEFAULT_EXTENSION,
        show_default=True,
        help="Version of Microsoft's Event Hubs extension whose form events have; from 6.5.2 on, "
        "offsets are numbers and OffsetString has the text.",
    ),
)


def shared_options[Function: Callable[..., Any]](function: Function) -> Function:
    """Add the options that the supervisor passes to its instances."""
    for option in (*reversed(_SHARED), _LIFELINE):
        function = option(function)
    return function
