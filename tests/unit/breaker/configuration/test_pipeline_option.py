"""Tests of `--pipeline`: which pipelines a command works on, and what it refuses."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from breaker import BreakerSettings
from breaker.configuration.command_line import DONE, FAILED, NOT_HEALTHY, Refused, exit_codes, run
from breaker.configuration.errors import ConfigurationError
from breaker.configuration.pipeline_option import (
    choice,
    need_one,
    on_all_pipelines,
    on_one_pipeline,
    show_each,
)
from breaker.configuration.pipelines import NAME, Pipeline, pipelines_of

TWO = {"PIPELINES": "orders,audit", "PIPELINE_AUDIT_EVENT_HUB_NAME": "b", "EVENT_HUB_NAME": "a"}
ACCEPTED = "add --pipeline with one of orders, audit"


@click.group()
def top() -> None:
    """Do things."""


@top.command()
@on_one_pipeline
@exit_codes({ConfigurationError: 2, OSError: 1})
def change(pipeline: Pipeline) -> None:
    """Change one pipeline."""
    click.echo(f"{pipeline.name} {pipeline.settings.get('EVENT_HUB_NAME')}{choice(pipeline)}")
    if pipeline.settings.get("EVENT_HUB_NAME") == "away":
        raise ConnectionError("the hub is away")


@top.command()
@on_all_pipelines
@click.option("--after")
def show(pipelines: Sequence[Pipeline], after: str | None) -> None:
    """Show all pipelines."""
    need_one(pipelines, after=after is not None)
    click.echo(" ".join(each.name for each in pipelines))


def _file(folder: Path, values: dict[str, str]) -> str:
    path = folder / "settings.json"
    path.write_text(json.dumps({"Values": values}))
    return f"{path}"


def _run(folder: Path, values: dict[str, str], *arguments: str) -> int:
    return run(top, [arguments[0], "--settings", _file(folder, values), *arguments[1:]])


def test_app_without_pipelines_needs_no_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path, {"EVENT_HUB_NAME": "a"}, "change") == 0
    assert _run(tmp_path, {}, "show") == 0
    assert capsys.readouterr().out == "default a\ndefault\n"


def test_app_with_one_declared_pipeline_needs_no_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path, {"PIPELINES": "orders"}, "change") == 0
    assert _run(tmp_path, {"PIPELINES": "orders"}, "show", "--after", "x") == 0
    assert capsys.readouterr().out == "orders None--pipeline orders \norders\n"


def test_change_of_one_of_several_pipelines_needs_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path, TWO, "change") == 2
    refusal = capsys.readouterr()
    assert refusal.out == ""
    assert ACCEPTED in refusal.err
    assert _run(tmp_path, TWO, "change", "--pipeline", "Audit") == 0
    assert capsys.readouterr().out == "audit b--pipeline audit \n"


@pytest.mark.parametrize("command", ["change", "show"])
def test_unknown_pipeline_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path, TWO, command, "--pipeline", "order") == 2
    error = "the app has no pipeline 'order'; it has orders, audit; did you mean orders?"
    assert error in capsys.readouterr().err
    assert _run(tmp_path, {}, command, "--pipeline", "orders") == 2


def test_overview_shows_all_pipelines_or_the_named_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path, TWO, "show") == 0
    assert _run(tmp_path, TWO, "show", "--pipeline", "audit", "--after", "x") == 0
    assert capsys.readouterr().out == "orders audit\naudit\n"


def test_option_for_one_pipeline_is_refused_for_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path, TWO, "show", "--after", "x") == 2
    error = f"the app has several pipelines, and --after is for one of them: {ACCEPTED}"
    assert error in capsys.readouterr().err


def test_error_names_the_pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = TWO | {"EVENT_HUB_NAME": "away"}
    assert _run(tmp_path, away, "change", "--pipeline", "orders") == 1
    assert capsys.readouterr().err == "breakwater: pipeline orders: the hub is away\n"
    assert _run(tmp_path, {"EVENT_HUB_NAME": "away"}, "change") == 1
    assert capsys.readouterr().err == "breakwater: the hub is away\n"


def test_error_names_the_own_setting_of_the_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @top.command("judge")
    @on_one_pipeline
    @exit_codes({ConfigurationError: 2})
    def judge(pipeline: Pipeline) -> None:
        BreakerSettings.from_mapping(pipeline.settings)

    wrong = TWO | {"PIPELINE_AUDIT_STOPS_APP": "maybe"}
    assert _run(tmp_path, wrong, "judge", "--pipeline", "audit") == 2
    error = "breakwater: pipeline audit: PIPELINE_AUDIT_STOPS_APP is 'maybe': it takes true or"
    assert error in capsys.readouterr().err


async def test_error_of_one_of_several_names_its_own_setting(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def one(pipeline: Pipeline) -> int:
        BreakerSettings.from_mapping(pipeline.settings)
        return DONE

    pipelines = pipelines_of(TWO | {"PIPELINE_AUDIT_BREAKER_MODE": "maybe"})
    assert await show_each(pipelines, one, codes={ConfigurationError: 2}, headings=False) == 2
    error = "breakwater: pipeline audit: PIPELINE_AUDIT_BREAKER_MODE is 'maybe'"
    assert error in capsys.readouterr().err


async def test_error_of_one_pipeline_does_not_hide_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def one(pipeline: Pipeline) -> int:
        if pipeline.name == "orders":
            raise OSError("away")
        click.echo("here")
        return NOT_HEALTHY

    pipelines = pipelines_of(TWO)
    codes: dict[type[Exception], int] = {OSError: FAILED}
    assert await show_each(pipelines, one, codes=codes, headings=True) == NOT_HEALTHY
    shown = capsys.readouterr()
    assert shown.out == "Pipeline orders\n\nPipeline audit\nhere\n"
    assert shown.err == "breakwater: pipeline orders: away\n"
    with pytest.raises(OSError, match="away"):
        await show_each(pipelines[:1], one, codes=codes, headings=True)


async def test_fault_of_the_program_is_no_line() -> None:
    async def one(_pipeline: Pipeline) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await show_each(pipelines_of(TWO), one, codes={Refused: FAILED}, headings=False)


@pytest.mark.parametrize(
    ("values", "incomplete", "names"),
    [
        (TWO, "", ["orders", "audit"]),
        (TWO, "or", ["orders"]),
        ({"EVENT_HUB_NAME": "a"}, "", []),
        ({"PIPELINES": "Not a name"}, "", []),
        (TWO | {"PIPELINE_UNIT_TEST_ID": "x"}, "a", ["audit"]),
    ],
)
def test_shell_completes_the_names_in_silence(
    values: dict[str, str],
    incomplete: str,
    names: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    line = ["change", "--settings", _file(tmp_path, values), "--pipeline"]
    found = ShellComplete(top, {}, "top", "_TOP_COMPLETE").get_completions(line, incomplete)
    assert [each.value for each in found] == names
    assert caplog.records == []


def test_completion_without_a_settings_file_reads_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "environ", TWO)
    complete = ShellComplete(top, {}, "top", "_TOP_COMPLETE").get_completions
    assert [each.value for each in complete(["show", "--pipeline"], "a")] == ["audit"]
    missing = ["show", "--settings", f"{tmp_path}/none.json", "--pipeline"]
    assert complete(missing, "") == []


def test_settings_of_one_pipeline_are_those_of_one_app(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that got a pipeline's settings passes them on as those of an app."""
    orders = dict(pipelines_of(TWO)[0].settings)
    assert orders[NAME] == "orders"
    assert _run(tmp_path, orders, "show") == 0
    assert capsys.readouterr().out == "orders\n"
