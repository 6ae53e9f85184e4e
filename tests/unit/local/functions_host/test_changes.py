"""The files whose change restarts an app."""

from __future__ import annotations

from pathlib import Path

from local.functions_host.changes import folders, watched_of


def test_folders_of_tools_and_packages_are_not_watched(tmp_path: Path) -> None:
    for name in (
        "handlers/orders",
        ".git/objects",
        "node_modules/x",
        "env/lib",
        "__pycache__",
        "state/hosts",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    assert {str(path.relative_to(tmp_path)) for path in folders(tmp_path, tmp_path / "state")} == {
        ".",
        "handlers",
        "handlers/orders",
    }


def test_code_and_settings_are_watched(tmp_path: Path) -> None:
    names = ("b.py", "host.json", "sub/a.py", "notes.txt", "out.json", ".swap.py", "a.pyc")
    files = [tmp_path / name for name in names]
    assert watched_of(files, tmp_path) == ["b.py", "host.json", "sub/a.py"]
