"""The values of expressions: JSON values with the type names and texts of Logic Apps."""

from __future__ import annotations

import json
from typing import Any

type Json = Any
"""None, bool, int, float, str, a list, or a dict with text keys."""


def type_name(value: Json) -> str:
    """Return the type's name, as the error messages of Logic Apps show it."""
    match value:
        case None:
            return "Null"
        case bool():
            return "Boolean"
        case int():
            return "Integer"
        case float():
            return "Float"
        case str():
            return "String"
        case list():
            return "Array"
        case _:
            return "Object"


def text(value: Json) -> str:
    """Return the text of a value inside a longer text.

    Null is the empty text, and a boolean is "True" or "False", as .NET writes a boolean. Arrays and
    objects become compact JSON.
    """
    match value:
        case None:
            return ""
        case str():
            return value
        case list() | dict():
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        case _:
            return str(value)


def same(one: Json, other: Json) -> bool:
    """Return whether two values are equal; values of different types differ.

    Integers and floats are one type, but booleans are no numbers.
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)
