"""The commands that the local wheel brings to the command line `breakwater`."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.wheels import outside, run

NAMES = "bench console down host loadtest stack up"
LOAD = """
import click
from importlib.metadata import entry_points
found = {each.name: each.load() for each in entry_points(group="breakwater.commands")}
assert all(isinstance(command, click.Command) for command in found.values()), found
print(*sorted(found))
"""


@pytest.mark.long
def test_each_command_of_the_local_wheel_loads(installed: Path, tmp_path: Path) -> None:
    """An entry point that names nothing would be noticed by a user only."""
    program = (sys.executable, "-P", "-c", LOAD)
    ended = run(*program, cwd=tmp_path, environment=outside(installed))
    assert ended.stdout.split() == NAMES.split()


@pytest.mark.long
def test_host_runs_beside_a_module_of_its_own_name(installed: Path, tmp_path: Path) -> None:
    """The folder of the app comes after the installed packages, until the host refuses the app."""
    for name in ("local.py", "console.py"):
        (tmp_path / name).write_text("raise SystemExit(1)\n")
    (tmp_path / "function_app.py").touch()
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    ended = run(
        *(sys.executable, "-P", "-m", "breakwater", "host", "--port", "0"),
        cwd=tmp_path,
        environment=outside(installed),
        code=1,
    )
    assert f"{tmp_path / 'local.py'} cannot be imported on the local host" in ended.stdout


@pytest.mark.long
def test_console_without_npm_serves_the_page_and_says_what_is_missing(
    installed: Path, tmp_path: Path, redis_url: str
) -> None:
    values = outside(
        installed,
        PATH=tmp_path,
        BREAKWATER_CACHE=tmp_path / "cache",
        REDIS_URL=redis_url,
        CONSOLE_TOKEN="a-token-of-this-test",
        CONSOLE_CALLBACK_HOSTS="127.0.0.1",
    )
    command = (sys.executable, "-P", "-m", "breakwater", "console", "--port", "0")
    with subprocess.Popen(
        command, cwd=tmp_path, env=values, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "Uvicorn running on" in line:
                process.send_signal(signal.SIGTERM)
    text = "".join(lines)
    assert "The page shows no plots: uplot (the console's plots) comes through npm" in text
    assert "Uvicorn running on" in text
