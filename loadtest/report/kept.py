"""The commands that show what a kept run has left, printed as the last lines."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console

from loadtest.target.endpoints import Endpoints
from loadtest.target.stack import KEPT_STATE_DIR


def show(console: Console) -> None:
    """Print the commands that look further and that end the stack, and the console's address.

    Raises:
        UsageError: the stack is not up.
    """
    endpoints = Endpoints.read(KEPT_STATE_DIR / "endpoints.json")
    command, settings = _program(), os.path.relpath(endpoints.settings_file)
    local = _python("local")
    lines = {
        f"{command} status --settings {settings}": "the circuit",
        f"{command} history --settings {settings}": "when it opened and closed, and who approved",
        f"{command} poison list --settings {settings}": "the poison events and their errors",
        f"{local} status": "the services and the partitions",
        **({endpoints.console_url: "the operator's console"} if endpoints.console_url else {}),
        f"{local} host": "run the app again",
        "make down" if Path("Makefile").is_file() else f"{local} down": "stop; the data stays",
        f"{local} down --wipe": "stop, and delete the data",
    }
    console.print(f"\nThe stack is up with the run's data, in {KEPT_STATE_DIR}:")
    width = max(map(len, lines))
    for line, what in lines.items():
        console.print(f"  {line:<{width}}  {what}", markup=False, highlight=False, soft_wrap=True)
    if endpoints.console_token:
        console.print(
            f"The console's token is {endpoints.console_token}.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _program() -> str:
    """Return the installed command beside this Python, else its module, as a person types it."""
    script = Path(sys.executable).with_name("breakwater")
    return _relative(script) if script.is_file() else _python("breakwater")


def _python(module: str) -> str:
    return f"{_relative(Path(sys.executable))} -m {module}"


def _relative(path: Path) -> str:
    below = os.path.relpath(path)
    return str(path) if below.startswith("..") else below
