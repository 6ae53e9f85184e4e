"""The deployed package: the files that Azure is given, on the embedded host."""

from __future__ import annotations

from pathlib import Path

from scripts.package_app import ROOT, build
from tests.e2e.runs import assert_kept, run


def test_the_package_runs_the_steady_scenario(tmp_path: Path) -> None:
    """Nothing that .funcignore leaves out is needed to work."""
    app = tmp_path / "app"
    build(ROOT, app)
    finished = run(tmp_path, f"--scenario steady --events 2000 --keys 20 --no-console --app {app}")
    assert_kept(finished, sent=2000, poisoned=0)
