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


def test_each_command_of_the_local_wheel_loads(installed: Path, tmp_path: Path) -> None:
    """An entry point that names nothing would be noticed by a user only."""
    program = (sys.executable, "-P", "-c", LOAD)
    ended = run(*program, cwd=tmp_path, environment=outside(installed))
    assert ended.stdout.split() == NAMES.split()


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
