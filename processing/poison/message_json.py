"""The JSON form of poison messages: versions, fields and their types."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from types import UnionType
from typing import Any

VERSION = 2
READABLE = (1, 2)
ADDED_IN_2 = {"redrives": 0, "parked": False}

_TAKES: Mapping[str, type | UnionType] = {
    "id": str,
    "key": str | None,
    "body": str | None,
    "properties": dict,
    "partition": str,
    "sequence_number": int,
    "offset": str,
    "enqueued_time": str,
    "error": dict,
    "attempts": int,
    "first_attempt_time": str,
    "last_attempt_time": str,
    "handler": str,
    "circuit_generation": int,
    "instance": str,
    "claim_check": dict | None,
    "redrives": int,
    "parked": bool,
    "version": int,
}
_PARTS = {"error": {"type", "message", "traceback"}, "claim_check": {"container", "blob"}}


def write(values: Mapping[str, Any]) -> str:
    """Return the fields as JSON; property values that JSON does not support become text."""
    return json.dumps(values, default=plain, separators=(",", ":"))


def read(text: str | bytes) -> dict[str, Any]:
    """Parse a message of any supported version, and return the fields of version 2.

    Raises:
        ValueError: the text is not a poison message of a supported version.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"not a poison message: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"not a poison message: a JSON {type(found).__name__}, not an object")
    if found.get("version") not in READABLE:
        raise ValueError(
            f"poison message of version {found.get('version')!r}; this app reads the versions "
            f"{' and '.join(map(str, READABLE))}"
        )
    if found["version"] == 1:
        found |= ADDED_IN_2 | {"version": VERSION}
    if missing := _TAKES.keys() - found.keys():
        raise ValueError(f"not a poison message: it lacks {', '.join(sorted(missing))}")
    try:
        _check(found)
    except ValueError as error:
        raise ValueError(f"not a poison message: {error}") from None
    return {name: found[name] for name in _TAKES}


def plain(value: object) -> str:
    """Return a value that JSON does not support as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)


def _type_name(kind: type | UnionType) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _check(found: Mapping[str, Any]) -> None:
    """Check every field that a replay of the message uses."""
    for name, kind in _TAKES.items():
        if not isinstance(found[name], kind):
            raise ValueError(f"its {name} is {found[name]!r:.60}; it takes {_type_name(kind)}")
    for name, parts in _PARTS.items():
        value = found[name]
        if value is not None and not (
            value.keys() == parts and all(isinstance(text, str) for text in value.values())
        ):
            raise ValueError(f"its {name} is {value!r:.60}; it takes {', '.join(sorted(parts))}")
    place = f"/{found['partition']}/{found['sequence_number']}/"
    stream, there, enqueued = found["id"].rpartition(place)
    if not there or "/" not in stream or not enqueued.isdecimal():
        raise ValueError(f"its id is {found['id']!r:.200}; it takes hub/group{place}milliseconds")
    if found["body"] is not None:
        base64.b64decode(found["body"], validate=True)
    elif found["claim_check"] is None:
        raise ValueError("it has neither a body nor a claim check")
