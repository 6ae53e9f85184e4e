"""The sources of the Redis scripts, with their includes inserted."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_DIRECTORY = Path(__file__).parent / "scripts"
_PARTS = frozenset(
    {"callbacks", "common", "moves", "probe_keys", "refusal", "register", "standstill"}
)
_INCLUDE = re.compile(r"^ *-- include (\w+)$", re.MULTILINE)


@cache
def sources() -> dict[str, str]:
    """Return the source of each operation's script, by name."""
    texts = {path.stem: path.read_text("utf-8") for path in sorted(_DIRECTORY.glob("*.lua"))}

    def whole(text: str) -> str:
        return _INCLUDE.sub(lambda part: whole(texts[part[1]]), text)

    return {name: whole(text) for name, text in texts.items() if name not in _PARTS}
