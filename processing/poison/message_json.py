"""The JSON form of poison messages: its versions, and what each field takes."""

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
    """The fields as JSON; properties that JSON has no form for become text."""
    return json.dumps(values, default=plain, separators=(",", ":"))


def read(text: str | bytes) -> dict[str, Any]:
    """The fields, as those of version 2.

    Raises:
        ValueError: it is no poison message of a version known here; says what is wrong.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"not a poison message: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"not a poison message: a JSON {type(found).__name__}, not an object")
    if found.get("version") not in READABLE:
        raise ValueError(
            f"poison message of version {found.get('version')!r}; this reads "
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
    """Text for what JSON has no form for."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)


def _check(found: Mapping[str, Any]) -> None:
    """Whoever replays the message relies on each of these."""
    for name, kind in _TAKES.items():
        if not isinstance(found[name], kind):
            raise ValueError(f"its {name} is {found[name]!r:.60}")
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
