"""The frames of a handler's error that are the user's own code."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from traceback import walk_tb

from processing.formats.cut import end

MOST_FRAMES = 8
FRAME_BYTES = 240
"""The longest text of a frame, in JSON."""
_MOST_ERRORS = 8
_MOST_WALKED = 200
_HOME = Path(__file__).parents[2]
_PRODUCT = tuple(f"{_HOME / name}/" for name in ("breakwater", "breaker", "processing"))
# `sysconfig` would import a module of the build's variables at each start of the app.
_STANDARD = (f"{Path(os.__file__).parent}/",)
_INSTALLED = ("/site-packages/", "/dist-packages/")
_handlers: set[str] = set()
"""The files and folders of handlers that are installed as packages."""


def note_handler(module: str) -> None:
    """Take the top package of a handler's module for the user's own code, also if installed."""
    file = getattr(sys.modules.get(module.partition(".")[0]), "__file__", None)
    if not isinstance(file, str) or not any(part in file for part in _INSTALLED):
        return
    _handlers.add(f"{Path(file).parent}/" if Path(file).stem == "__init__" else file)
    _is_own.cache_clear()


def own_frames(error: BaseException) -> tuple[str, ...]:
    """Return the user's own frames, such as `orders.py:12 handle`; the innermost is the last.

    Frames of Breakwater, of other installed packages and of Python itself are left out. The frames
    of the error's causes follow those of the error. At most `MOST_FRAMES` are returned, the
    innermost.
    """
    try:
        found: dict[str, None] = {}
        for each in _chain(error):
            found |= dict.fromkeys(_frames(each))
        return tuple(found)[-MOST_FRAMES:]
    except Exception:  # an error of the user may have a traceback or a cause of any form
        return ()


def own_place(error: BaseException) -> str:
    """Return the file and line of the innermost own frame, such as `orders.py:12`; "" for none."""
    try:
        frames = list(_frames(error))
        return frames[-1].rpartition(" ")[0] if frames else ""
    except Exception:  # see `own_frames`
        return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, its causes, and the first error of each group."""
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen and len(seen) < _MOST_ERRORS:
        yield current
        seen.add(id(current))
        if isinstance(current, BaseExceptionGroup):
            current = current.exceptions[0]
        elif current.__cause__ is not None or current.__suppress_context__:
            current = current.__cause__
        else:
            current = current.__context__


def _frames(error: BaseException) -> Iterator[str]:
    # The traceback of an error that is raised again and again grows without limit.
    for frame, line in deque(walk_tb(error.__traceback__), _MOST_WALKED):
        code = frame.f_code
        if _is_own(code.co_filename):
            text = f"{_shown(code.co_filename)}:{line} {code.co_qualname}"
            yield end(text.encode("utf-8", "replace").decode(), FRAME_BYTES)


@cache
def _is_own(file: str) -> bool:
    path = file.replace("\\", "/")
    if path.startswith(tuple(_handlers)):
        return True
    if path.startswith("<") or any(part in path for part in _INSTALLED):
        return False
    return not path.startswith(_PRODUCT + _STANDARD)


def _shown(file: str) -> str:
    """Return a file's path below the folder from which Python imports it."""
    folders = [folder for folder in sys.path if folder and file.startswith(f"{folder}/")]
    return file[len(max(folders, key=len)) + 1 :] if folders else file
