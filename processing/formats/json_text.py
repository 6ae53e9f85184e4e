"""JSON that every program reads in the same way: no NaN, no infinity, no odd keys."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

DEEPEST = 50
"""Values that are nested deeper become text."""
MOST_VALUES = 10_000
"""Further nested values become text: lists that contain each other would have no end."""
MOST_BITS = 4_096
"""Longer integers become text: Python refuses to read very long ones."""
LONGEST_TEXT = 1_000
"""The length at which the text of a value that JSON does not support is cut."""


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON; everything that JSON does not support becomes text.

    NaN and the infinities become the strings that .NET writes: "NaN", "Infinity", "-Infinity".
    """
    options: dict[str, Any] = {"allow_nan": False, "indent": indent}
    if indent is None:
        options["separators"] = (",", ":")
    try:
        return json.dumps(value, default=plain, **options)
    except Exception:
        return json.dumps(simplified(value), **options)


def plain(value: object) -> str:
    """Return a value that JSON does not support as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    try:
        return str(value)
    except BaseException:  # an object's own text may be broken, or end the process
        return f"<{type(value).__qualname__}>"


def simplified(value: Any) -> Any:
    """Return a copy of a value in which everything is supported by JSON."""
    return _Simplifier().simplified(value, 0)


class _Simplifier:
    def __init__(self) -> None:
        self._left = MOST_VALUES

    def simplified(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, str | bool):
            return value
        if isinstance(value, int):
            return value if value.bit_length() <= MOST_BITS else hex(value)[:LONGEST_TEXT]
        if isinstance(value, float):
            return value if math.isfinite(value) else _not_finite(value)
        kind = type(value).__qualname__
        if depth >= DEEPEST:
            return f"<{kind} nested more than {DEEPEST} deep>"
        if not isinstance(value, Mapping | list | tuple):
            return plain(value)[:LONGEST_TEXT]
        self._left -= len(value) + 1
        if self._left < 0 and depth > 1:  # the fields of a message keep their types
            return f"<{kind} behind more than {MOST_VALUES} values>"
        if isinstance(value, Mapping):
            return {
                name if isinstance(name, str) else plain(name)[:LONGEST_TEXT]: self.simplified(
                    item, depth + 1
                )
                for name, item in value.items()
            }
        return [self.simplified(item, depth + 1) for item in value]


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
