"""The options that several commands share, and the exit codes of their errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from typing import Any

import click

from breaker import BreakerError
from breaker.cli.options import user
from breaker.configuration.command_line import (
    FAILED,
    WRONG_ARGUMENT,
    FilledText,
    LineText,
    asynchronous,
    exit_codes,
    log_warnings,
)
from breaker.configuration.errors import ConfigurationError
from processing.errors import HandlerLoadError, ProcessingError

CODES: Mapping[type[Exception], int] = {
    ConfigurationError: WRONG_ARGUMENT,
    HandlerLoadError: WRONG_ARGUMENT,
    ProcessingError: FAILED,
    BreakerError: FAILED,
    OSError: FAILED,
    ValueError: FAILED,
}
"""The exit codes of the errors that a command may raise."""


def command[**P](function: Callable[P, Coroutine[Any, Any, int]]) -> Callable[P, int]:
    """Return a command's function that runs a coroutine function and prints what it logs."""

    @wraps(function)
    def logging_warnings(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, int]:
        log_warnings()
        logging.getLogger("azure").setLevel(logging.ERROR)
        return function(*args, **kwargs)

    return exit_codes(CODES)(asynchronous(logging_warnings))


def by_option[F: Callable[..., Any]](purpose: str) -> Callable[[F], F]:
    """Return the option `--by NAME`: the parameter `by`, by default the user's name.

    Args:
        purpose: what the name is used in.
    """
    text = f"Name for {purpose} (default: your user name)."
    return click.option("--by", type=FilledText(), default=user, metavar="NAME", help=text)


def reason_option[F: Callable[..., Any]](purpose: str, *, required: bool) -> Callable[[F], F]:
    """Return the option `--reason TEXT`: the parameter `reason`, "" if it is not required.

    Args:
        purpose: what the reason is written into.
        required: refuse a command without a reason.
    """
    values: dict[str, Any] = {"required": True} if required else {"default": ""}
    kind = FilledText() if required else LineText()
    text = f"Reason for {purpose}."
    return click.option("--reason", type=kind, metavar="TEXT", help=text, **values)


def one_of(*, required: bool, **given: bool) -> None:
    """Check that an operator gives at most one of several options.

    Args:
        required: whether one option must be given.
        given: whether each option is given; `to_start` is the option `--to-start`.

    Raises:
        click.UsageError: two options are given, or none although one is required.
    """
    options = ["--" + name.replace("_", "-") for name in given]
    count = sum(given.values())
    if count > 1 or (required and not count):
        text = "exactly one of" if required else "at most one of"
        raise click.UsageError(
            f"give {text} {', '.join(options)}", click.get_current_context(silent=True)
        )
