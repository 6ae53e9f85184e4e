"""The option `--pipeline` of a command, and the pipelines that a command works on.

Only command lines import this module, because the deployed app has no click.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from breaker.configuration.command_line import (
    DONE,
    EXPLAIN_IN_CONTEXT,
    FilledText,
    code_of,
    log_warnings,
    say_error,
    settings_option,
)
from breaker.configuration.errors import ConfigurationError
from breaker.configuration.local_settings import read_settings
from breaker.configuration.pipelines import Pipeline, pipeline_of, pipelines_of

OPTION = "--pipeline"
_OTHERS = "breaker.other_pipelines"


def pipeline_option[F: Callable[..., Any]](function: F) -> F:
    """Add `--pipeline NAME` to a command: the parameter `pipeline`, a text or None."""
    return click.option(
        OPTION,
        type=FilledText(),
        metavar="NAME",
        shell_complete=_complete,
        help="The pipeline, if the app has several.",
    )(function)


def on_one_pipeline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--settings FILE` and `--pipeline NAME` to a command that works on one pipeline.

    The function gets the parameter `pipeline`, a `Pipeline`. Without the option this is the app's
    only one; an app with several refuses. The errors of the command name a declared pipeline.
    """

    @wraps(function)
    def chosen(*args: Any, settings: Path | None, pipeline: str | None, **options: Any) -> Any:
        return function(*args, pipeline=_one(settings, pipeline), **options)

    return settings_option(pipeline_option(chosen))


def on_all_pipelines(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--settings FILE` and `--pipeline NAME` to a command that only shows.

    The function gets the parameter `pipelines`, a tuple of `Pipeline`: the one that is named, or
    all. See `show_each`.
    """

    @wraps(function)
    def chosen(*args: Any, settings: Path | None, pipeline: str | None, **options: Any) -> Any:
        log_warnings()
        found = pipelines_of(read_settings(settings))
        pipelines = found if pipeline is None and len(found) > 1 else (_one(settings, pipeline),)
        return function(*args, pipelines=pipelines, **options)

    return settings_option(pipeline_option(chosen))


def on_whole_app(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--settings FILE` to a command that works on the app with all its pipelines.

    The function gets the parameter `pipelines`, a tuple of `Pipeline`.
    """

    @wraps(function)
    def all_of_them(*args: Any, settings: Path | None, **options: Any) -> Any:
        log_warnings()
        return function(*args, pipelines=pipelines_of(read_settings(settings)), **options)

    return settings_option(all_of_them)


def other_pipelines() -> tuple[Pipeline, ...]:
    """Return the app's pipelines besides the one that the command works on."""
    others: tuple[Pipeline, ...] = click.get_current_context().meta.get(_OTHERS, ())
    return others


def need_one(pipelines: Sequence[Pipeline], **given: bool) -> None:
    """Refuse options that make sense for one pipeline only, if a command shows several.

    Args:
        pipelines: the pipelines that the command shows.
        given: whether each option is given; `watch` is the option `--watch`.

    Raises:
        click.UsageError: one of the options is given, and there are several pipelines.
    """
    options = ["--" + name.replace("_", "-") for name, is_given in given.items() if is_given]
    if len(pipelines) > 1 and options:
        raise _several(pipelines, f"{options[0]} is for one of them")


async def show_each(
    pipelines: Sequence[Pipeline],
    show: Callable[[Pipeline], Awaitable[int]],
    *,
    codes: Mapping[type[Exception], int],
    headings: bool,
) -> int:
    """Show pipelines one after another, and return the greatest exit code.

    The error of one pipeline does not hide the others: it becomes a line that names the pipeline.

    Args:
        pipelines: the pipelines; the errors of a single one are raised.
        show: prints one pipeline, and returns the exit code.
        codes: the exit code for each class of errors, as for `exit_codes`.
        headings: print the name above each of several pipelines.
    """
    if len(pipelines) == 1:
        return await show(pipelines[0])
    worst = DONE
    for number, each in enumerate(pipelines):
        if headings:
            click.echo(f"{'' if number == 0 else '\n'}Pipeline {each.name}")
        try:
            code = await show(each)
        except Exception as error:
            if isinstance(error, BrokenPipeError) or (found := code_of(error, codes)) is None:
                raise
            say_error(each.explain(f"{error}"))
            code = found
        worst = max(worst, code)
    return worst


def choice(pipeline: Pipeline) -> str:
    """Return the option for a command line that is shown to people; "" if none is needed."""
    return f"{OPTION} {pipeline.name} " if pipeline.declared else ""


def _one(settings: Path | None, name: str | None) -> Pipeline:
    """Return the named pipeline, or the only one; the command's errors name it from then on.

    Raises:
        click.UsageError: the app has several pipelines, and none is chosen.
        ConfigurationError: the settings cannot be read, or there is no such pipeline.
    """
    log_warnings()
    values = read_settings(settings)
    found = pipelines_of(values)
    if name is None and len(found) > 1:
        raise _several(found, "the command works on one of them")
    pipeline = pipeline_of(values, name)
    if pipeline.declared:
        meta = click.get_current_context().meta
        meta[EXPLAIN_IN_CONTEXT] = pipeline.explain
        meta[_OTHERS] = tuple(each for each in found if each.name != pipeline.name)
    return pipeline


def _several(pipelines: Sequence[Pipeline], why: str) -> click.UsageError:
    names = ", ".join(each.name for each in pipelines)
    return click.UsageError(
        f"the app has several pipelines, and {why}: add {OPTION} with one of {names}",
        click.get_current_context(),
    )


def _complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the pipelines that begin with a text; none if the settings cannot be read."""
    log = logging.getLogger("breaker.configuration.pipelines")
    level = log.level
    log.setLevel(logging.CRITICAL)  # a warning would be printed into the operator's line
    try:
        found = pipelines_of(read_settings(ctx.params.get("settings")))
    except (ConfigurationError, OSError):
        return []
    finally:
        log.setLevel(level)
    return [
        CompletionItem(each.name)
        for each in found
        if each.declared and each.name.startswith(incomplete)
    ]
