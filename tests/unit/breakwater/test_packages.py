"""The import of `breakwater` refuses other packages of the names that it uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def import_breakwater(app: Path, *, before: str = "") -> subprocess.CompletedProcess[str]:
    """Import the package in a new interpreter whose path begins with the app's folder."""
    program = f"import sys; sys.path[:0] = {[str(app), str(ROOT)]!r}\n{before}\nimport breakwater"
    return subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, check=False, text=True
    )


@pytest.mark.parametrize("name", ["breaker", "processing"])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_package_in_the_way_is_named(tmp_path: Path, name: str, kind: str) -> None:
    """A user's app often has a folder named `processing`."""
    found = tmp_path / name if kind == "folder" else tmp_path / f"{name}.py"
    module = found / "__init__.py" if kind == "folder" else found
    module.parent.mkdir(exist_ok=True)
    module.write_text("raise SystemExit('the module of the user was run')\n")
    done = import_breakwater(tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: `import {name}` finds the {kind} {found}, which hides Breakwater's package "
        f"{ROOT / name}. Rename that {kind}, or move it where Python does not find it as {name!r}"
    )


def test_module_that_is_already_imported_is_named(tmp_path: Path) -> None:
    """The path may have changed since that import."""
    other = tmp_path / "other"
    (other / "processing").mkdir(parents=True)
    (other / "processing" / "__init__.py").touch()
    before = (
        f"sys.path.insert(0, {str(other)!r}); import processing; sys.path.remove({str(other)!r})"
    )
    assert (
        f"finds the folder {other / 'processing'},"
        in import_breakwater(tmp_path, before=before).stderr
    )


def test_module_without_a_place_is_named(tmp_path: Path) -> None:
    before = "import types; sys.modules['breaker'] = types.ModuleType('breaker')"
    assert "<breaker in sys.modules>" in import_breakwater(tmp_path, before=before).stderr


def test_folder_that_hides_nothing_is_accepted(tmp_path: Path) -> None:
    """A folder without `__init__.py` hides no package that comes later on the path."""
    (tmp_path / "processing").mkdir()
    done = import_breakwater(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_missing_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    copy = tmp_path / "home" / "breakwater"
    copy.mkdir()
    for file in ("__init__.py", "_packages.py"):
        (copy / file).write_text((ROOT / "breakwater" / file).read_text())
    program = f"import sys; sys.path.insert(0, {str(copy.parent)!r})\nimport breakwater"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, check=False, text=True
    )
    assert "Breakwater's package 'breaker' is missing" in done.stderr
    assert "Install breakwater again" in done.stderr
