"""The command `python -m scripts.package_app DIRECTORY`, which copies the files to deploy.

The package is the repository without the files that .funcignore names. `make package` also installs
requirements.txt into `.python_packages/lib/site-packages`, as Azure's remote build does.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = Path(".python_packages", "lib", "site-packages")


class PatternError(ValueError):
    """An unsupported pattern in .funcignore."""


def read_patterns(file: Path) -> list[str]:
    """Return the patterns of a .funcignore, which are names with wildcards.

    As in a .gitignore, a trailing slash matches folders only, and a leading slash matches only in
    the root.

    Raises:
        PatternError: a line uses other gitignore syntax.
    """
    lines = [line.strip() for line in file.read_text().splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]
    for pattern in patterns:
        if pattern.startswith("!") or "/" in pattern[1:-1] or "**" in pattern:
            raise PatternError(
                f"{file.name}: {pattern!r} is not supported; "
                "a pattern takes a name, such as /tests/ or *.md"
            )
    return patterns


def package_files(root: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """Yield the files that no pattern matches, sorted and relative to the root."""
    below = [pattern for pattern in patterns if not pattern.startswith("/")]
    for path in sorted(root.iterdir()):
        if any(_matches(path, pattern) for pattern in patterns):
            continue
        if path.is_dir():
            yield from (path.name / inner for inner in package_files(path, below))
        else:
            yield Path(path.name)


def _matches(path: Path, pattern: str) -> bool:
    return fnmatch(path.name, pattern.strip("/")) and (path.is_dir() or pattern[-1] != "/")


def build(root: Path, target: Path) -> list[Path]:
    """Replace the package's files, keep installed libraries, and return the files."""
    target.mkdir(parents=True, exist_ok=True)
    for old in target.iterdir():
        if old.name != LIBRARIES.parts[0]:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    files = list(package_files(root, read_patterns(root / ".funcignore")))
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / file, target / file)
    return files


def main(arguments: list[str]) -> int:
    """Build into the given directory and return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m scripts.package_app DIRECTORY", file=sys.stderr)
        return 2
    target = Path(arguments[0])
    files = build(ROOT, target)
    size = sum((target / file).stat().st_size for file in files)
    print(f"{target}: {len(files)} files, {size / 1024:,.0f} KiB without libraries")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
