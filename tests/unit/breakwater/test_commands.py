"""The one command `breakwater`: its help, its names, and the commands that entry points bring."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest

from breaker.configuration.command_line import run
from breaker.configuration.version import VERSION
from breakwater.__main__ import main
from breakwater.commands import GROUP, KNOWN, SECTIONS, Breakwater

OWN = [name for lines in SECTIONS.values() for each in lines if each.home for name in each.names]
LOCAL = ("up", "down", "stack", "host", "console", "loadtest", "bench")
"""The commands that the second wheel brings."""


@click.command(short_help="Say hello.")
def hello() -> None:
    """Say hello."""
    click.echo("hello")


def points(**values: str) -> list[EntryPoint]:
    return [EntryPoint(name, value, GROUP) for name, value in values.items()]


def test_help_fits_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """Also with all commands of the second wheel, and with the prompt below."""
    brought = points(**dict.fromkeys(LOCAL, "local.command:any"))
    assert run(Breakwater(brought), ["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert all(any(name in line.replace(",", " ").split() for line in lines) for name in KNOWN)


def test_help_shows_only_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Breakwater([]), ["--help"]) == 0
    assert "local stack" not in capsys.readouterr().out
    assert run(Breakwater(points(down="local.command:down")), ["--help"]) == 0
    assert "local    down             Start, stop or" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [name for section in SECTIONS.values() for line in section if line.home for name in line.names],
)
def test_each_known_command_shows_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Breakwater([]), [name, "--help"]) == 0
    assert f"Usage: breakwater {name} " in capsys.readouterr().out


def test_help_and_completion_load_no_command() -> None:
    """An operator who presses the tab key waits for no SDK."""
    program = (
        "import sys\n"
        "from breaker.configuration.command_line import run\n"
        "from breakwater.commands import Breakwater\n"
        "run(Breakwater(), ['--help'])\n"
        "import click\n"
        "root = Breakwater()\n"
        "found = root.shell_complete(click.Context(root), 're')\n"
        "print([each.value for each in found])\n"
        "print(sorted({'azure', 'redis', 'breaker.cli', 'processing'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["['redrive', 'rewind']", "[]"]


def test_broken_command_is_named_and_breaks_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    brought = points(
        hello=f"{__name__}:hello", gone="no_such_package:gone", odd="os:getcwd", status="os:name"
    )
    root = Breakwater(brought)
    assert run(root, ["hello"]) == 0
    assert run(root, ["gone"]) == 1
    assert run(root, ["odd"]) == 1
    assert run(root, ["status", "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("hello\nUsage: breakwater status ")
    reason = "no_such_package:gone: ModuleNotFoundError: No module named 'no_such_package'"
    assert f"breakwater: the command gone cannot be loaded: {reason}\n" in err
    assert "the command odd cannot be loaded: <built-in function getcwd> is no command" in err
    assert run(root, ["--help"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert f"more     gone             the command gone cannot be loaded: {reason}"[:80] in {
        line[:80] for line in shown
    }
    assert "         hello            Say hello." in shown


def test_module_that_ends_the_program_breaks_no_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The help has one line for each command, whatever the reason quotes."""
    (tmp_path / "leaving.py").write_text("raise SystemExit('\\x1b[2Jone\\ntwo')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    root = Breakwater(points(leave="leaving:command"))
    assert run(root, ["--help"]) == 0
    shown = capsys.readouterr().out
    assert "cannot be loaded: leaving:command: SystemExit: \\x1b[2Jone\n\nExit codes" in shown
    assert run(root, ["leave"]) == 1


def test_command_of_the_other_package_says_what_to_install(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(Breakwater([]), ["up", "--wipe"]) == 2
    needed = 'breakwater: up is in another package: pip install "breakwater[local]"\n'
    assert capsys.readouterr().err.startswith(needed)


def test_unknown_name_gets_the_accepted_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Breakwater([]), ["redrvie"]) == 2
    assert "commands: status, history, " in (err := capsys.readouterr().err)
    assert "did you mean redrive?" in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_BREAKWATER_COMPLETE" in capsys.readouterr().out


def test_shell_gets_the_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the shell's script asks: by environment variables."""
    for name, value in {
        "_BREAKWATER_COMPLETE": "bash_complete",
        "COMP_WORDS": "breakwater app",
        "COMP_CWORD": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 0
    assert capsys.readouterr().out == "plain,approve\n"


def test_options_are_completed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "_BREAKWATER_COMPLETE": "bash_complete",
        "COMP_WORDS": "breakwater isolate --r",
        "COMP_CWORD": "2",
    }.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 0
    assert capsys.readouterr().out == "plain,--reason\n"


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"breakwater {VERSION}\n"


def test_handlers_are_found_in_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory comes last, so that a user's folder `local` hides no package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    assert main(["--version"]) == main(["--version"]) == 0
    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[-1] == str(tmp_path)
