"""The pytest plugin: its fixture, and the cost of its import."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLUGIN = "breakwater_pytest"
TEST = '''
from breakwater.testing import downstream_down, event


def handle(event):
    """Handle nothing."""


def test_two_runs_share_the_stores(breakwater_app):
    app = breakwater_app(handle, settings={"PROCESSING_MAX_LANES": 1})
    once = event("x")
    assert app.run([once]).handled == [once]
    assert app.run([once]).skipped == [once]
'''


def run_python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        text=True,
    )


def run_pytest(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a project whose folder is first on the path, as `python -m` makes it."""
    options += ("-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error", "-q")
    if "breakwater" not in _plugins():
        options += ("-p", PLUGIN)
    return run_python("-m", "pytest", *options, cwd=project)


def test_fixture_opens_and_closes_an_app(tmp_path: Path) -> None:
    (tmp_path / "test_handler.py").write_text(TEST)
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("name", ["breaker", "processing"])
def test_project_with_a_folder_in_the_way_runs_its_tests(tmp_path: Path, name: str) -> None:
    """`python -m pytest` puts the project's folder first on the path."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    (tmp_path / "test_handler.py").write_text(TEST)
    done = run_pytest(tmp_path, "--continue-on-collection-errors")
    assert "1 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert f"finds the folder {tmp_path / name}, which hides Breakwater's package" in done.stdout


def test_plugin_imports_nothing_of_the_processor(tmp_path: Path) -> None:
    """Pytest imports the plugin in each run of each project that has Breakwater installed."""
    program = (
        "import sys, pytest; before = set(sys.modules); import breakwater_pytest; "
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = run_python("-c", program, cwd=tmp_path).stdout.split()
    heavy = [each for each in loaded if each.split(".")[0] in {"azure", "redis", "opentelemetry"}]
    assert PLUGIN in loaded
    assert heavy == []
    assert not [each for each in loaded if each.startswith(("processing.", "breaker."))]


def test_plugin_is_an_entry_point_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"breakwater": PLUGIN}


def _plugins() -> set[str]:
    from importlib.metadata import entry_points

    return {each.name for each in entry_points(group="pytest11")}
