"""`python -m scripts.check_rooms`: check that each folder is one concept, named and small enough.

Every folder with Python modules needs a docstring that says what it holds, and the folders in
`SMALL` hold at most `MODULES` modules side by side.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = 12
SMALL = (
    "processing",
    "console",
    "loadtest",
    "local",
    "local/event_hubs",
    "local/functions_host",
)
"""Folders that were once 36 to 42 files side by side."""

NO_PACKAGES = frozenset({".", "docs/examples"})
"""Folders of programs that nobody imports as a package."""

_UNCOUNTED = frozenset({"__init__.py", "__main__.py"})


def problems(files: Iterable[str], docstrings: Mapping[str, str | None]) -> list[str]:
    """Return one line for each folder that breaks a rule.

    Args:
        files: paths of Python files, relative to the root, with slashes.
        docstrings: the docstring of each folder that has an `__init__.py`; None without one.
    """
    modules: dict[str, list[str]] = defaultdict(list)
    for file in files:
        folder, _, name = file.rpartition("/")
        modules[folder or "."].append(name)
    found = []
    for folder in sorted(modules.keys() - NO_PACKAGES):
        if folder not in docstrings:
            found.append(f"{folder}: it has no __init__.py; add one with a docstring")
        elif not (docstrings[folder] or "").strip():
            found.append(f"{folder}/__init__.py: it needs a docstring that names its concept")
    for folder in SMALL:
        count = sum(name not in _UNCOUNTED for name in modules[folder])
        if count > MODULES:
            found.append(f"{folder}: {count} modules side by side; at most {MODULES}, use rooms")
    return found


def main() -> int:
    """Check the files that git tracks; return the exit code."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],  # noqa: S607
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    files = [file for file in listed if (ROOT / file).is_file()]
    docstrings = {
        file.removesuffix("/__init__.py"): ast.get_docstring(ast.parse((ROOT / file).read_text()))
        for file in files
        if file.endswith("/__init__.py")
    }
    found = problems(files, docstrings)
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
