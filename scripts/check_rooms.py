"""The check `python -m scripts.check_rooms` of the folders' docstrings and sizes.

Every folder with Python modules needs a docstring that names its concept. The folders in `SMALL`
may have at most `MODULES` modules.
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
"""The folders with a limit; each had 36 to 42 modules before it was split."""

NO_PACKAGES = frozenset({".", "docs/examples", "docs/examples/orders_app", "wheels/local"})
"""The folders of programs and build hooks, which are not imported as packages."""

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
            found.append(f"{folder}: __init__.py is missing; add it with a docstring")
        elif not (docstrings[folder] or "").strip():
            found.append(f"{folder}/__init__.py: the docstring that names its concept is missing")
    for folder in SMALL:
        count = sum(name not in _UNCOUNTED for name in modules[folder])
        if count > MODULES:
            found.append(
                f"{folder}: {count} modules, but at most {MODULES} are accepted; add subfolders"
            )
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
