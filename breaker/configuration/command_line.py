"""The shared parts of all command lines: errors, exit codes, options and questions.

Only command lines import this module, because the deployed app has no click.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from breaker.configuration.errors import ConfigurationError, nearest
from breaker.configuration.one_line import escaped, one_line

DONE, FAILED, WRONG_ARGUMENT, NOT_HEALTHY, INTERRUPTED = 0, 1, 2, 3, 130

EXIT_CODES = (
    "Exit codes: 0 done; 1 refused, failed, or a service did not answer; 2 wrong argument or "
    "setting; 3 not running or not healthy; 130 interrupted."
)

PREFIX = "breakwater: "
"""The beginning of every error line of every command."""

COMMON_ERRORS: Mapping[type[Exception], int] = {ConfigurationError: WRONG_ARGUMENT, OSError: FAILED}
"""The exit code of errors that each command line may raise."""

SETTINGS_FILE = "local.settings.json"
EXPLAIN_IN_CONTEXT = "breaker.explain"
"""The name in the context's `meta` of the function that explains errors of a pipeline."""
_MISSING = re.compile(r"is not set|is missing")
_HELP = {"help_option_names": ["-h", "--help"]}


class Refused(click.ClickException):
    """A request that a command does not carry out.

    Args:
        message: the reason, with the accepted values.
        code: the exit code of the command line.
    """

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class CommandGroup(click.Group):
    """A group of commands that names its commands when it refuses a name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name.

        Raises:
            click.UsageError: there is no such command; the message has the accepted names.
        """
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            names = self.list_commands(ctx)
            near = nearest(name, names, cutoff=0.6)
            hint = f"; did you mean {near}?" if near else ""
            accepted = ", ".join(names)
            raise click.UsageError(f"no command {name!r:.100}; commands: {accepted}{hint}", ctx)
        return super().resolve_command(ctx, args)


_GREATEST = 2**53 - 1
"""Greatest whole number of an option; Redis' scripts and JSON keep it exactly."""
_DIGITS = 20
"""Digits of a number that are read; they are enough to see that a number is too great."""


class WholeNumber(click.ParamType[int]):
    """A whole number in decimal digits.

    Args:
        least: the smallest accepted number.
    """

    name = "number"

    def __init__(self, least: int) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of a text."""
        if isinstance(value, int):
            return value
        is_number = value.isascii() and value.isdigit()
        number = int((value.lstrip("0") or "0")[:_DIGITS]) if is_number else -1
        if number > _GREATEST:
            bounds = f"from {self._least} to {_GREATEST}"
            self.fail(f"{value!r:.100} is not a whole number {bounds}", param, ctx)
        if number < self._least:
            self.fail(f"{value!r:.100} is not a whole number from {self._least} on", param, ctx)
        return number


class LineText(click.ParamType[str]):
    """A text of one line that a person writes, or an empty one, without spaces around."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text in one spelling; see `one_line`."""
        text = str(value).strip()
        if not text:
            return ""
        try:
            return one_line(text)
        except ValueError as error:
            self.fail(f"it has {error}; the option takes one line of text", param, ctx)


class FilledText(LineText):
    """A text of one line that is not empty, without spaces around."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text in one spelling."""
        text = super().convert(value, param, ctx)
        if not text:
            self.fail("it is empty; the option takes a text", param, ctx)
        return text


def settings_option[F: Callable[..., Any]](function: F) -> F:
    """Add `--settings FILE` to a command: the parameter `settings`, a Path or None."""
    return click.option(
        "--settings",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Read the settings from this local.settings.json instead of the environment.",
    )(function)


def json_option[F: Callable[..., Any]](function: F) -> F:
    """Add `--json` to a command: the parameter `as_json`, a bool.

    Standard output then has only JSON: one object, or one object per line for a list. Errors are
    lines on standard error, as without the option.
    """
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def yes_option[F: Callable[..., Any]](function: F) -> F:
    """Add `--yes` to a command that asks: the parameter `yes`, a bool."""
    return click.option("--yes", is_flag=True, help="Do not ask for confirmation.")(function)


def asynchronous[**P, R](function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """Return a command's function that runs a coroutine function in an event loop of its own."""

    @wraps(function)
    def in_a_loop(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return asyncio.run(function(*args, **kwargs))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    return in_a_loop


def exit_codes[**P, R](
    codes: Mapping[type[Exception], int],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give the errors of a command their exit codes, whichever command line runs the command.

    Args:
        codes: the exit code for each class of errors; the first class that matches counts.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def translating(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except click.ClickException:
                raise
            except Exception as error:
                if isinstance(error, BrokenPipeError) or (code := code_of(error, codes)) is None:
                    raise
                raise Refused(_explained(f"{error}"), code) from error

        return translating

    return decorate


def _explained(text: str) -> str:
    """Return the text of an error, with the command's pipeline and the names of its settings."""
    context = click.get_current_context(silent=True)
    explain = None if context is None else context.meta.get(EXPLAIN_IN_CONTEXT)
    return text if explain is None else explain(text)


def code_of(error: Exception, codes: Mapping[type[Exception], int]) -> int | None:
    """Return the exit code of the first class that the error belongs to; None for other errors."""
    return next((code for kind, code in codes.items() if isinstance(error, kind)), None)


def has_terminal() -> bool:
    """Return whether somebody can answer a question."""
    return sys.stdin is not None and sys.stdin.isatty()  # None: it was closed before the start


def confirmed(question: str, *, yes: bool) -> bool:
    """Return whether the operator agrees, asked on the terminal unless `yes` is set.

    Raises:
        click.UsageError: there is no terminal and `yes` is not set.
    """
    if yes:
        return True
    if not has_terminal():
        raise click.UsageError("nothing was changed; --yes confirms without a terminal")
    # asyncio would answer the first Ctrl-C only after the input has ended.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        click.echo(f"{question} [y/N] ", nl=False, err=True)  # standard output may be JSON
        return input().strip().lower() in {"y", "yes"}
    except EOFError:
        return False
    finally:
        signal.signal(signal.SIGINT, before)


def say_error(text: str) -> None:
    """Print a text to standard error; each line begins with `PREFIX`."""
    for line in text.splitlines() or [""]:
        click.echo(f"{PREFIX}{escaped(line)}", err=True)


class _ErrorLines(logging.Handler):
    """A handler that prints each record of the log as an error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record."""
        say_error(self.format(record))


def log_warnings() -> None:
    """Print warnings and errors of the log to standard error, as `say_error` prints."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_ErrorLines()])


def run(
    command: click.Command,
    argv: Sequence[str] | None = None,
    *,
    prog: str = "breakwater",
    codes: Mapping[type[Exception], int] = COMMON_ERRORS,
    defaults: Mapping[str, Any] | None = None,
) -> int:
    """Run a command line and return its exit code.

    A command returns its exit code, or None for 0. An error that has no exit code is a fault of the
    program: it leaves this function.

    Args:
        command: the command, or the group of commands.
        argv: the arguments; without them, those of the process.
        prog: the name of the program for usage texts.
        codes: the exit codes of errors, besides those of `exit_codes`.
        defaults: defaults of options that replace the commands' own: for each command a mapping of
            its parameters' names.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        code = _invoke(command, arguments, prog, defaults)
        if sys.stdout is not None:  # None: it was closed before the start
            sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.exceptions.Exit as left:
        return left.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return WRONG_ARGUMENT
    except click.ClickException as error:
        say_error(_text(error) + _hint(error.__cause__, arguments))
        return error.code if isinstance(error, Refused) else error.exit_code
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            # The reader of the output (`| head`) has exited; the flush at exit must not fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        found = code_of(error, {**COMMON_ERRORS, **codes})
        if found is None:
            raise
        say_error(str(error) + _hint(error, arguments))
        return found
    return code


def _invoke(
    command: click.Command, arguments: list[str], prog: str, defaults: Mapping[str, Any] | None
) -> int:
    extra: dict[str, Any] = _HELP | ({"default_map": dict(defaults)} if defaults else {})
    with command.make_context(prog, arguments, **extra) as context:
        code = command.invoke(context)
    return code if isinstance(code, int) else DONE


def _hint(error: BaseException | None, arguments: Sequence[str]) -> str:
    """Return a further line if a missing setting is probably in a file of the current folder."""
    is_missing = isinstance(error, ConfigurationError) and _MISSING.search(str(error))
    given = any(each.partition("=")[0] == "--settings" for each in arguments)
    if not is_missing or given or not Path(SETTINGS_FILE).is_file():
        return ""
    return f"\nthis folder has a settings file: add --settings {SETTINGS_FILE} to read it"


def _text(error: click.ClickException) -> str:
    """Return the message, and after a wrong argument which help describes the accepted ones."""
    message = error.format_message()
    if not isinstance(error, click.UsageError):
        return message
    message = message.removesuffix(".")
    if message[1:2].islower():  # click begins its messages with a capital letter
        message = message[:1].lower() + message[1:]
    if (context := error.ctx) is None:
        return message
    if isinstance(error, click.NoSuchOption):
        options = (each for each in context.command.get_params(context) if each.opts)
        names = (
            each.opts[-1] for each in options if isinstance(each, click.Option) and not each.hidden
        )
        message += f"; options: {', '.join(names)}"
    if isinstance(error, click.MissingParameter) and isinstance(error.param, click.Option):
        message += f": {(error.param.help or '').removesuffix('.')}"
    return f"{message}\n`{context.command_path} --help` shows the arguments"
