"""The package has every file that the app needs and no other file."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.package_app import ROOT, PatternError, build, package_files, read_patterns


def test_package_has_only_the_app() -> None:
    """The package has whole Python packages and the root files that Azure reads."""
    files = set(package_files(ROOT, read_patterns(ROOT / ".funcignore")))
    at_root = {file.name for file in files if len(file.parts) == 1}
    assert at_root >= {"function_app.py", "host.json", "requirements.txt"}
    assert not {name for name in at_root if name.endswith((".md", ".toml", ".yaml", ".lock"))}
    for package in ("breaker", "breakwater", "processing"):
        needed = {
            path.relative_to(ROOT)
            for path in (ROOT / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert needed <= files
    ours = {
        "console",
        "local",
        "loadtest",
        "benchmarks",
        "tests",
        "infra",
        "docs",
        "scripts",
        "wheels",
    }
    assert not {file.parts[0] for file in files} & ours


def test_patterns_match_as_in_a_gitignore(tmp_path: Path) -> None:
    """A leading slash matches only in the root, and a trailing slash only folders."""
    for name in ("scripts/a", "app/scripts/b", "app/.hidden", "app/c.pyc", "notes", "x/notes/d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = package_files(tmp_path, ["/scripts/", ".*", "*.pyc", "notes/"])
    assert [file.as_posix() for file in found] == ["app/scripts/b", "notes"]


@pytest.mark.parametrize("pattern", ["!keep", "a/b", "**/x"])
def test_unsupported_pattern_is_an_error(tmp_path: Path, pattern: str) -> None:
    """Azure's tools would interpret the pattern differently."""
    file = tmp_path / ".funcignore"
    file.write_text(f"# why\n\n{pattern}\n")
    with pytest.raises(PatternError, match="a pattern takes a name"):
        read_patterns(file)


def test_second_build_removes_old_files(tmp_path: Path) -> None:
    """Installed libraries stay, because their installation takes long."""
    root, target = tmp_path / "root", tmp_path / "target"
    (root / "old").mkdir(parents=True)
    (root / ".funcignore").write_text(".*\n")
    (root / "old" / "file").touch()
    build(root, target)
    (target / ".python_packages").mkdir()
    (root / "old" / "file").rename(root / "new")
    (root / "old").rmdir()
    assert build(root, target) == [Path("new")]
    assert {path.name for path in target.iterdir()} == {".python_packages", "new"}
