"""The options that the circuit's commands share."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import Any

import click

from breaker.configuration.command_line import FilledText, LineText, WholeNumber
from breaker.duration import parse_duration


class Duration(click.ParamType[int]):
    """A length of time such as 30m, in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seconds of a text."""
        if isinstance(value, int):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def dependency_option[F: Callable[..., Any]](function: F) -> F:
    """Add `--dependency NAME`: the parameter `dependency`, a text or None."""
    return click.option(
        "--dependency",
        metavar="NAME",
        help="The circuit of this dependency instead of the app's own.",
    )(function)


def generation_option[F: Callable[..., Any]](function: F) -> F:
    """Add `--generation N`, which an operator must give: the parameter `generation`."""
    return click.option(
        "--generation",
        type=WholeNumber(1),
        required=True,
        metavar="N",
        help="The current generation, as alerts and `status` show it.",
    )(function)


def by_option[F: Callable[..., Any]](function: F) -> F:
    """Add `--by NAME`: the parameter `by`, by default the name of the user who runs the command."""
    return click.option(
        "--by",
        type=FilledText(),
        default=user,
        metavar="NAME",
        help="Name for the history (default: your user name).",
    )(function)


def reason_option[F: Callable[..., Any]](*, required: bool) -> Callable[[F], F]:
    """Return the option `--reason TEXT`: the parameter `reason`, "" if it is not required."""
    values: dict[str, Any] = {"required": True} if required else {"default": ""}
    kind = FilledText() if required else LineText()
    text = "Reason for the history."
    return click.option("--reason", type=kind, metavar="TEXT", help=text, **values)


def user() -> str:
    """Return the name of the user who runs the command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"
