"""What is deployed: by .funcignore, everything that the app needs and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.package_app import ROOT, PatternError, build, package_files, read_patterns


def test_the_app_and_nothing_else() -> None:
    """Whole packages, with their scripts, and the files of the root that Azure reads."""
    files = set(package_files(ROOT, read_patterns(ROOT / ".funcignore")))
    at_root = {file.name for file in files if len(file.parts) == 1}
    assert at_root >= {"function_app.py", "host.json", "requirements.txt"}
    assert not {name for name in at_root if name.endswith((".md", ".toml", ".yaml", ".lock"))}
    for package in ("breaker", "processing"):
        needed = {
            path.relative_to(ROOT)
            for path in (ROOT / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert needed <= files
    ours = {"console", "local", "loadtest", "benchmarks", "tests", "infra", "docs", "scripts"}
    assert not {file.parts[0] for file in files} & ours


def test_patterns_mean_what_they_mean_in_a_gitignore(tmp_path: Path) -> None:
    """A slash in front binds a pattern to the root, one behind it to folders."""
    for name in ("scripts/a", "app/scripts/b", "app/.hidden", "app/c.pyc", "notes", "x/notes/d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = package_files(tmp_path, ["/scripts/", ".*", "*.pyc", "notes/"])
    assert [file.as_posix() for file in found] == ["app/scripts/b", "notes"]


@pytest.mark.parametrize("pattern", ["!keep", "a/b", "**/x"])
def test_other_patterns_are_refused(tmp_path: Path, pattern: str) -> None:
    """They would be read in another way than by Azure's tools."""
    file = tmp_path / ".funcignore"
    file.write_text(f"# why\n\n{pattern}\n")
    with pytest.raises(PatternError, match="takes a name"):
        read_patterns(file)


def test_building_again_leaves_nothing_behind(tmp_path: Path) -> None:
    """But the installed libraries, which take long."""
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
