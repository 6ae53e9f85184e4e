"""Changes of an app's files, for `host --reload`."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

from local.functions_host.errors import HostError

NAMES = frozenset({"host.json", "local.settings.json"})
"""Watched files besides the code; other files may be the app's own output."""
IGNORED = frozenset({"node_modules", "__pycache__", "site-packages", "out"})
"""Names of folders that are not watched; hidden folders are not watched either."""


def folders(app: Path, state: Path) -> list[Path]:
    """Return the folder of an app and its subfolders, without those of tools and packages.

    Args:
        app: the folder of the app.
        state: the folder of the stack, which changes all the time.
    """
    found = []
    for directory, names, _ in os.walk(app):
        names[:] = [
            name
            for name in names
            if not name.startswith(".")
            and name not in IGNORED
            and not Path(directory, name, "pyvenv.cfg").exists()
            and Path(directory, name) != state
        ]
        found.append(Path(directory))
    return found


def watched_of(paths: Iterable[Path], app: Path) -> list[str]:
    """Return the files whose change restarts the app, sorted and relative to its folder."""
    return sorted(
        os.path.relpath(path, app)
        for path in paths
        if path.name in NAMES or (path.suffix == ".py" and not path.name.startswith("."))
    )


def _has_folder(paths: Iterable[Path]) -> bool:
    return any(path.is_dir() for path in paths)


async def changes(app: Path, state: Path) -> AsyncGenerator[list[str]]:
    """Yield the changed files of an app, sorted and relative to its folder; see `folders`.

    Raises:
        HostError: the package watchfiles is not installed.
    """
    try:
        import watchfiles  # noqa: PLC0415 - only --reload needs this package
    except ImportError:
        raise HostError(
            "--reload needs the package watchfiles; install it with `pip install watchfiles`"
        ) from None
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    while True:
        # Subfolders are listed here, because the library would also watch those of packages.
        async for found in watchfiles.awatch(
            *folders(app, state), recursive=False, watch_filter=None, debounce=200, step=50
        ):
            paths = [Path(path) for _, path in found]
            if files := watched_of(paths, app):
                yield files
            if _has_folder(paths):
                break  # a new folder is watched from now on
