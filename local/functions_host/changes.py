"""Changes of an app's files, for `host --reload`."""

from __future__ import annotations

import asyncio
import contextlib
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


class _Files:
    """The watched files as they were seen last.

    The notices of the system are not enough: those of a new folder begin after its first files.
    """

    def __init__(self, app: Path, state: Path) -> None:
        self._app = app
        self._state = state
        self._seen = self._look()

    def changed(self) -> list[str]:
        """Return the files that are other than at the last call, sorted; see `changes`."""
        before, self._seen = self._seen, self._look()
        names = before.keys() | self._seen.keys()
        return watched_of(
            (name for name in names if before.get(name) != self._seen.get(name)), self._app
        )

    def _look(self) -> dict[Path, tuple[int, ...]]:
        found: dict[Path, tuple[int, ...]] = {}
        for folder in folders(self._app, self._state):
            for name in watched_of(folder.glob("*"), self._app):
                file = self._app / name
                with contextlib.suppress(OSError):  # it has gone since
                    status = file.stat()
                    found[file] = (status.st_mtime_ns, status.st_size, status.st_ino)
        return found


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
    known = _Files(app, state)
    while True:
        # Subfolders are listed here, because the library would also watch those of packages. After
        # each timeout it is certain to watch, and what changed before is looked for once.
        notices = watchfiles.awatch(
            *folders(app, state),
            recursive=False,
            watch_filter=None,
            debounce=200,
            step=50,
            rust_timeout=500,
            yield_on_timeout=True,
        )
        is_first = True
        try:
            async for found in notices:
                if (found or is_first) and (files := known.changed()):
                    yield files
                is_first = False
                if _has_folder(Path(path) for _, path in found):
                    break  # a new folder is watched from now on
        except FileNotFoundError:  # a folder was listed and has gone
            await asyncio.sleep(0.05)
