"""The JSON form of poison messages: versions, fields and their types."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from types import UnionType
from typing import Any

from processing.identity import PIPELINE, normal_host, normal_name

VERSION = 3
READABLE = (1, 2, 3)
_ADDED_IN_2 = {"redrives": 0, "parked": False}

_TYPES: Mapping[str, type | UnionType] = {
    "version": int,
    "id": str,
    "namespace": str,
    "hub": str,
    "consumer_group": str,
    "pipeline": str,
    "partition": str,
    "sequence_number": int,
    "offset": str,
    "enqueued_time": str,
    "key": str | None,
    "body": str | None,
    "properties": dict,
    "system_properties": dict,
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
    "frames": list,
}
_ADDED_TO_3: Mapping[str, Any] = {"frames": []}
"""The fields that messages of version 3 without them have by default."""
_PARTS = {"error": {"type", "message", "traceback"}, "claim_check": {"container", "blob"}}


def read(text: str | bytes, *, namespace: str = "") -> dict[str, Any]:
    """Parse a message of any supported version, and return the fields of version 3.

    Args:
        text: the message.
        namespace: the namespace of a message of version 1 or 2, which does not name it.

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
            f"{', '.join(map(str, READABLE))}"
        )
    try:
        if found["version"] < VERSION:
            found = _upgraded(found, namespace)
        found = {**_ADDED_TO_3, **found}
        _check(found)
    except ValueError as error:
        raise ValueError(f"not a poison message: {error}") from None
    return {name: found[name] for name in _TYPES}


def _upgraded(old: dict[str, Any], namespace: str) -> dict[str, Any]:
    """Return a message of version 1 or 2 in the form of version 3.

    Version 2 had the id `hub/consumer group/partition/sequence number/enqueued ms`, with the names
    as they were configured.
    """
    found = (_ADDED_IN_2 | old) if old["version"] == 1 else dict(old)
    for name in ("id", "partition", "sequence_number"):
        if name not in found:
            raise ValueError(f"it lacks {name}")
    place = f"/{found['partition']}/{found['sequence_number']}/"
    stream, there, enqueued = str(found["id"]).rpartition(place)
    hub, slash, group = stream.partition("/")
    if not there or not slash or not enqueued.isdecimal():
        raise ValueError(
            f"its id is {found['id']!r:.200}; version {old['version']} requires hub/group{place}"
            "milliseconds"
        )
    host, hub = normal_host(namespace), normal_name(hub)
    return found | {
        "version": VERSION,
        "id": f"{host}/{hub}{place}{enqueued}",
        "namespace": host,
        "hub": hub,
        "consumer_group": normal_name(group),
        "pipeline": PIPELINE,
        "system_properties": {},
    }


def _type_name(kind: type | UnionType) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _check(found: Mapping[str, Any]) -> None:
    """Check every field that a replay of the message uses."""
    if missing := _TYPES.keys() - found.keys():
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    for name, kind in _TYPES.items():
        if not isinstance(found[name], kind):
            raise ValueError(f"its {name} is {found[name]!r:.60}; it takes {_type_name(kind)}")
    for name, parts in _PARTS.items():
        value = found[name]
        if value is not None and not (
            value.keys() == parts and all(isinstance(text, str) for text in value.values())
        ):
            raise ValueError(f"its {name} is {value!r:.60}; it takes {', '.join(sorted(parts))}")
    if not all(isinstance(frame, str) for frame in found["frames"]):
        raise ValueError(f"its frames are {found['frames']!r:.200}; it takes a list of text")
    place = "/".join(
        str(found[name]) for name in ("namespace", "hub", "partition", "sequence_number")
    )
    start, _, enqueued = found["id"].rpartition("/")
    if start != place or not enqueued.isdecimal():
        raise ValueError(f"its id is {found['id']!r:.200}; it takes {place}/milliseconds")
    if found["body"] is not None:
        base64.b64decode(found["body"], validate=True)
    elif found["claim_check"] is None:
        raise ValueError("it has neither a body nor a claim check")
