"""The commands `python -m build` and `pip install .`, as a user runs them in a clone."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.integration.wheels.conftest import Wheels
from tests.support.wheels import FOLDERS, STORE, files_of, metadata_of, outside, run

pytestmark = pytest.mark.long


def test_build_makes_the_same_wheels_from_source_distributions(
    wheels: Wheels, tmp_path: Path
) -> None:
    for folder, direct in zip(FOLDERS, wheels, strict=True):
        run(
            *(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path),
            folder,
        )
        built = tmp_path / direct.name
        assert files_of(built) == files_of(direct)
        assert metadata_of(built).items() == metadata_of(direct).items()
    for archive in tmp_path.glob("*.tar.gz"):
        with tarfile.open(archive) as source:
            names = {Path(name).parts[1] for name in source.getnames() if "/" in name}
        assert {"LICENSE", "pyproject.toml"} <= names
        assert not names & {"tests", "docs", "scripts", "node_modules", ".venv", ".wheels"}


def test_pip_installs_the_folder_without_network(tmp_path: Path) -> None:
    """Pip builds in an environment of its own, for which the wheel folder has hatchling."""
    values = outside(PIP_NO_INDEX="1", PIP_FIND_LINKS=STORE)
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", str(python), "--quiet", "install")
    run(*pip, FOLDERS[0], environment=values)
    shown = subprocess.check_output(
        [tmp_path / "venv" / "bin" / "breakwater", "--help"], cwd=tmp_path, text=True
    )
    assert "status" in shown
    assert " up, down" not in shown  # the local wheel brings these
