"""JSON that every program reads in the same way: no NaN, no infinity, no odd keys."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

DEEPEST = 50
"""Values that are nested deeper become text."""
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
    except (TypeError, ValueError, RecursionError):
        return json.dumps(simplified(value), **options)


def plain(value: object) -> str:
    """Return a value that JSON does not support as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    try:
        return str(value)
    except Exception:  # an object's own text may be broken
        return f"<{type(value).__qualname__}>"


def simplified(value: Any, depth: int = 0) -> Any:
    """Return a copy of a value in which everything is supported by JSON."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= MOST_BITS else hex(value)[:LONGEST_TEXT]
    if isinstance(value, float):
        return value if math.isfinite(value) else _not_finite(value)
    if depth >= DEEPEST:
        return f"<{type(value).__qualname__} nested more than {DEEPEST} deep>"
    if isinstance(value, Mapping):
        return {
            name if isinstance(name, str) else plain(name)[:LONGEST_TEXT]: simplified(
                item, depth + 1
            )
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [simplified(item, depth + 1) for item in value]
    return plain(value)[:LONGEST_TEXT]


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
