"""The sources of the Redis scripts of parked lists, with their includes inserted."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_DIRECTORY = Path(__file__).parent / "scripts"
_INCLUDE = re.compile(r"^-- include (\w+)$", re.MULTILINE)


@cache
def source(name: str) -> str:
    """Return the source of an operation's script."""
    return _INCLUDE.sub(lambda part: _text(part[1]), _text(name))


def _text(name: str) -> str:
    return (_DIRECTORY / f"{name}.lua").read_text("utf-8")
