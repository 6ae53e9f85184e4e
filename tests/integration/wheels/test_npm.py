"""The first use of an installed wheel installs the packages of package-lock.json from npm.

npm is real, and takes the packages from the cache that `make setup` has filled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from breaker.configuration import npm
from local.services.child import REPOSITORY
from tests.support.wheels import outside, run

INSTALL = "from breaker.configuration import npm; npm.install(npm.UPLOT)"
PYTHON = (sys.executable, "-P", "-c")


def environment(installed: Path, cache: Path, **variables: object) -> dict[str, str]:
    """Return the environment of a program that uses the wheels without network."""
    return outside(installed, npm_config_offline="true", BREAKWATER_CACHE=cache, **variables)


@pytest.mark.long
def test_first_use_survives_a_kill_and_a_second_process(installed: Path, tmp_path: Path) -> None:
    """A killed process leaves no half package, and of two processes one installs."""
    values = environment(installed, tmp_path / "cache")
    _kill_during_npm(values, tmp_path)
    folder = tmp_path / "cache" / "npm"
    assert len(list(folder.glob("uplot-*.partial-*"))) == 1
    both = [
        subprocess.Popen([*PYTHON, INSTALL], env=values, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert sum("Installing uplot (the console's plots)" in text for text in errors) == 1
    assert [path.suffix for path in sorted(folder.iterdir())] == ["", ".lock"]
    pages = "from console.web.pages import VENDOR; print([f.is_file() for f, _ in VENDOR.values()])"
    assert run(*PYTHON, pages, environment=values, cwd=tmp_path).stdout == "[True, True]\n"


def _kill_during_npm(values: dict[str, str], directory: Path) -> None:
    """Kill an installing process while npm runs; this npm says so and waits."""
    program = directory / "bin" / "npm"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho running >&2; exec sleep 60\n")
    program.chmod(0o755)
    process = subprocess.Popen(
        [*PYTHON, INSTALL],
        env=values | {"PATH": f"{program.parent}:{values['PATH']}"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    assert "Installing" in process.stderr.readline()
    assert process.stderr.readline() == "running\n"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()


def test_missing_npm_is_named_with_what_needs_it(installed: Path, tmp_path: Path) -> None:
    values = environment(installed, tmp_path, PATH=tmp_path)
    ended = run(*PYTHON, INSTALL, environment=values, code=1)
    assert (
        "NpmError: uplot (the console's plots) comes through npm on first use, but there is no "
        "npm on PATH; install Node.js 20 or newer with npm" in ended.stderr
    )


@pytest.mark.long  # npm tries several times
def test_npm_that_fails_is_an_error_and_leaves_nothing(installed: Path, tmp_path: Path) -> None:
    """Npm's own messages come first: here its cache is empty and there is no network."""
    values = environment(installed, tmp_path / "cache", npm_config_cache=tmp_path / "empty")
    ended = run(*PYTHON, INSTALL, environment=values, code=1)
    assert "npm error code ENOTCACHED" in ended.stderr
    assert "NpmError: npm could not install uplot (exit code 1" in ended.stderr
    assert [path.suffix for path in (tmp_path / "cache" / "npm").iterdir()] == [".lock"]


def test_cache_that_cannot_be_written_is_named(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    values = environment(installed, tmp_path / "file")
    ended = run(*PYTHON, INSTALL, environment=values, code=1)
    assert f"cannot be installed into {tmp_path}/file/npm (Not a directory)" in ended.stderr
    assert "name another folder with BREAKWATER_CACHE" in ended.stderr


def test_clone_uses_its_own_folder_and_installs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BREAKWATER_CACHE", str(tmp_path / "cache"))
    npm.install(npm.AZURITE)
    assert npm.package_folder(npm.AZURITE) == REPOSITORY / "node_modules" / "azurite"
    assert not (tmp_path / "cache").exists()
