"""Tests of the shared parts of command lines: prefix, exit codes, options and questions."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from breaker.configuration.command_line import (
    CommandGroup,
    FilledText,
    LineText,
    WholeNumber,
    asynchronous,
    confirmed,
    exit_codes,
    json_option,
    log_warnings,
    run,
    say_error,
    settings_option,
    yes_option,
)
from breaker.configuration.errors import ConfigurationError

HELP = "breakwater: `breakwater {} --help` shows the arguments\n"


class _AwayError(Exception):
    """A service that does not answer."""


@click.group(cls=CommandGroup)
def top() -> None:
    """Do things."""


@top.command()
@settings_option
@json_option
@click.option("--limit", type=WholeNumber(1), default=20)
@click.option("--reason", type=FilledText())
@click.option("--note", type=LineText(), default="")
@asynchronous
async def show(
    settings: Path | None, as_json: bool, limit: int, reason: str | None, note: str
) -> int:
    """Show the arguments."""
    assert not note
    click.echo(f"{settings} {as_json} {limit} {reason}")
    return 3 if limit == 3 else 0


@top.command()
@click.argument("what")
@exit_codes({ConfigurationError: 2, _AwayError: 1, KeyError: 2})
def fail(what: str) -> None:
    """Raise an error."""
    errors: dict[str, BaseException] = {
        "away": _AwayError("Redis does not answer:\n\x1b[2Jline two"),
        "missing": ConfigurationError("REDIS_URL is not set"),
        "setting": ConfigurationError("X is 1: it takes 2"),
        "file": FileNotFoundError(2, "No such file", "x"),
        "fault": ZeroDivisionError("a fault of the program"),
        "interrupt": KeyboardInterrupt(),
    }
    raise errors[what]


@top.command()
@settings_option
def read(settings: Path | None) -> None:
    """Read a setting that is missing."""
    raise ConfigurationError("REDIS_URL is not set")


@top.command()
@yes_option
def ask(yes: bool) -> int:
    """Ask before the change."""
    if not confirmed("Change it?", yes=yes):
        click.echo("Nothing was changed")
        return 1
    click.echo("changed")
    return 0


@top.command()
def warn() -> None:
    """Log a warning."""
    log_warnings()
    logging.getLogger("breaker").warning("Redis\x1b is full\nnext attempt in 1 s")


def test_logged_warning_is_an_error_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    assert run(top, ["warn"]) == 0
    printed = "breakwater: Redis\\x1b is full\nbreakwater: next attempt in 1 s\n"
    assert capsys.readouterr() == ("", printed)


def test_closed_standard_streams_are_no_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python has None for a stream that the caller has closed (`>&-`)."""
    monkeypatch.setattr(sys, "stdin", None)
    assert run(top, ["ask"]) == 2
    assert "--yes confirms without a terminal" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdout", None)
    assert run(top, ["ask", "--yes"]) == 0


@pytest.mark.parametrize("module", ["breaker", "processing", "breakwater"])
def test_missing_library_is_named(module: str) -> None:
    """A deployed app has no click."""
    program = (
        f"import runpy, sys; sys.modules['click'] = None; "
        f"runpy.run_module({module!r}, run_name='__main__')"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    needed = "breakwater: the commands need click: pip install breakwater\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", needed)


def test_command_returns_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(top, ["show", "--settings", "a.json", "--json", "--limit", "3"]) == 3
    assert run(top, ["show", "--reason", " why "]) == 0
    assert capsys.readouterr().out == "a.json True 3 None\nNone False 20 why\n"


@pytest.mark.parametrize(
    ("arguments", "code", "errors"),
    [
        (
            ["shwo"],
            2,
            "no command 'shwo'; commands: ask, fail, read, show, warn; did you mean show?",
        ),
        (["show", "--jsn"], 2, "options: --settings, --json, --limit, --reason, --note, --help"),
        (["show", "--limit", "0"], 2, "'0' is not a whole number from 1 on"),
        (["show", "--limit", "1" + "0" * 5_000], 2, "is not a whole number from 1 to 9007199254"),
        (["show", "--limit", "9007199254740992"], 2, "from 1 to 9007199254740991"),
        (["show", "--limit", "²"], 2, "'²' is not a whole number from 1 on"),
        (["show", "--reason", " "], 2, "it is empty; the option takes a text"),
        (["show", "more"], 2, "got unexpected extra argument"),
        (["fail", "away"], 1, "Redis does not answer:\nbreakwater: \\x1b[2Jline two\n"),
        (["fail", "setting"], 2, "X is 1: it takes 2\n"),
        (["fail", "file"], 1, "[Errno 2] No such file: 'x'\n"),
        (["fail", "no such key"], 2, "'no such key'\n"),
        (["ask"], 2, "nothing was changed; --yes confirms without a terminal"),
    ],
)
def test_each_error_line_has_the_prefix(
    arguments: list[str],
    code: int,
    errors: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wrong arguments name the accepted ones, and each line begins with the same prefix."""
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert run(top, arguments) == code
    out, err = capsys.readouterr()
    assert (out, errors in err) == ("", True), err
    assert all(line.startswith("breakwater: ") for line in err.splitlines())


def test_wrong_argument_names_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    run(top, ["show", "--limit", "x"])
    assert capsys.readouterr().err.endswith(HELP.format("show"))


def test_fault_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(top, ["fail", "fault"])
    assert run(top, ["fail", "fault"], codes={ArithmeticError: 1}) == 1


@pytest.mark.parametrize("what", ["missing", "missing in a command with codes"])
def test_missing_setting_names_the_file_of_the_folder(
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A new user starts the local stack, and then a command without `--settings`."""
    monkeypatch.chdir(tmp_path)
    command = ["read"] if what == "missing" else ["fail", "missing"]
    assert run(top, command) == 2
    assert capsys.readouterr().err == "breakwater: REDIS_URL is not set\n"
    (tmp_path / "local.settings.json").write_text("{}")
    assert run(top, command) == 2
    hint = "this folder has a settings file: add --settings local.settings.json to read it"
    assert capsys.readouterr().err == (f"breakwater: REDIS_URL is not set\nbreakwater: {hint}\n")
    assert run(top, ["read", "--settings=local.settings.json"]) == 2
    assert run(top, ["fail", "setting"]) == 2
    assert "settings file" not in capsys.readouterr().err


def test_group_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(top, []) == 2
    out, err = capsys.readouterr()
    assert (out, "Commands:" in err) == ("", True)


def test_interrupt_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(top, ["fail", "interrupt"]) == 130
    assert capsys.readouterr() == ("", "")


def test_confirmation_is_given_by_an_option_or_a_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(top, ["ask", "--yes"]) == 0
    assert run(top, ["ask"], defaults={"ask": {"yes": True}}) == 0
    assert capsys.readouterr().out == "changed\n" * 2


@pytest.mark.parametrize(
    ("answer", "code", "out"),
    [(b"y\n", 0, "changed"), (b"n\n", 1, "Nothing"), (b"\n", 1, "Nothing"), (b"\x04", 1, "Noth")],
)
def test_operator_is_asked_on_a_terminal(
    answer: bytes,
    code: int,
    out: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only a yes changes something: no, an empty line and the end of the input do not."""
    ours, theirs = os.openpty()
    try:
        os.write(ours, answer)
        with os.fdopen(theirs, closefd=False) as terminal:
            monkeypatch.setattr(sys, "stdin", terminal)
            assert run(top, ["ask"]) == code
    finally:
        os.close(ours)
        os.close(theirs)
    said = capsys.readouterr()
    assert said.err == "Change it? [y/N] "
    assert out in said.out


def test_help_is_also_h(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(top, ["-h"]) == run(top, ["show", "-h"]) == 0
    assert "Show the arguments." in capsys.readouterr().out


def test_closed_pipe_is_no_error() -> None:
    """The reader of the output may exit early, as `head` does."""
    program = (
        "import sys, click\n"
        "from breaker.configuration.command_line import run\n"
        "@click.command()\n"
        "def many():\n"
        "    for n in range(100_000): print(n)\n"
        "sys.exit(run(many, []))\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (0, b"")


def test_question_leaves_ctrl_c_as_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    run(top, ["ask"])
    assert signal.getsignal(signal.SIGINT) is before


def test_empty_error_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    say_error("")
    assert capsys.readouterr().err == "breakwater: \n"


@pytest.mark.parametrize("text", ["x [vm:1]\n2026-12-01 closed by boss", "\x1b[2Jx", "\u3164"])
def test_persons_text_of_several_lines_is_refused(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name or a reason with a line break would forge a line of the history and of the log."""
    assert run(top, ["show", "--reason", text]) == 2
    assert "the option takes one line of text" in capsys.readouterr().err
    assert run(top, ["show", "--note", text]) == 2


def test_spaces_of_a_persons_text_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(top, ["show", "--reason", " Zoe\u0308\u00a0M. ", "--note", " "]) == 0
    assert capsys.readouterr().out == "None False 20 Zoë M.\n"
