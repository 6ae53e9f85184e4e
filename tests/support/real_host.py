"""The batches that Microsoft's Functions host handed to the worker, and their comparison."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from local.functions_host.triggers.event_hubs.encoding import Collection
from local.functions_host.worker.worker import Datum

SAMPLE = Path(__file__).parents[1] / "fixtures" / "real_host" / "batches.json"

_NUMBER = re.compile(r"\d+")
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,6}[1-9])?"
_FORMS: Mapping[str, tuple[type, re.Pattern[str]]] = {
    "x-opt-sequence-number": (int, _NUMBER),
    "x-opt-offset": (str, _NUMBER),
    "x-opt-enqueued-time": (str, re.compile(_TIME + r"\+00:00")),
    "SequenceNumber": (int, _NUMBER),
    "Offset": (str, _NUMBER),
    "EnqueuedTimeUtc": (str, re.compile(_TIME)),
}
"""The types and forms of values that differ in each run."""


class Number(str):
    """The digits of a number in JSON that is no whole number, such as 12.50, or a bare NaN."""

    __slots__ = ()


def sample() -> list[dict[str, Any]]:
    """Return the captured batches: `data` and `trigger_metadata`, each with type and value."""
    batches: list[dict[str, Any]] = json.loads(SAMPLE.read_text())["batches"]
    return batches


def captured(datum: Datum, metadata: Mapping[str, Datum]) -> dict[str, Any]:
    """Return a batch of the local host in the form of the sample."""
    return {
        "data": _described(datum),
        "trigger_metadata": {name: _described(item) for name, item in metadata.items()},
    }


def parsed(batch: Mapping[str, Any], name: str) -> Any:
    """Return the parsed JSON of one field of the metadata."""
    return _field("", "json", batch["trigger_metadata"][name]["value"])["value"]


def datums(batch: Mapping[str, Any]) -> tuple[Datum, dict[str, Datum]]:
    """Return a batch of the sample as the worker passes it to azure-functions."""
    metadata = batch["trigger_metadata"]
    return _datum(batch["data"]), {name: _datum(item) for name, item in metadata.items()}


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return one line for each field in which two batches differ.

    Types, the order of keys and the digits of numbers count. Sequence numbers, offsets and enqueued
    times may differ, but not their form.
    """
    return list(_differences("", _comparable(expected), _comparable(found)))


def _described(datum: Datum) -> dict[str, Any]:
    value = datum.value
    if isinstance(value, Collection):
        kind = datum.type.removeprefix("collection_")
        value = list(getattr(value, kind))
        if kind == "bytes":
            value = [base64.b64encode(item).decode() for item in value]
    return {"type": datum.type, "value": value}


def _datum(item: Mapping[str, Any]) -> Datum:
    kind, value = item["type"], item["value"]
    if kind.startswith("collection_"):
        name = kind.removeprefix("collection_")
        if name == "bytes":
            value = [base64.b64decode(text) for text in value]
        value = Collection(**{name: value})
    return Datum(value, kind)


def _comparable(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the batch with parsed JSON, and with forms instead of changing values."""
    fields = {"data": batch["data"], **batch["trigger_metadata"]}
    return {name: _field(name, item["type"], item["value"]) for name, item in fields.items()}


def _field(name: str, kind: str, value: Any) -> dict[str, Any]:
    if kind == "json" and isinstance(value, str):
        value = json.loads(value, parse_float=Number, parse_constant=Number)
    single = name.removesuffix("Array")
    if single in _FORMS and isinstance(value, list):
        value = [_form(single, item) for item in value]
    elif name == "SystemPropertiesArray" and isinstance(value, list):
        value = [{key: _form(key, item) for key, item in system.items()} for system in value]
    return {"type": kind, "value": value}


def _form(name: str, value: Any) -> Any:
    if name in _FORMS:
        kind, pattern = _FORMS[name]
        if type(value) is kind and pattern.fullmatch(str(value)):
            return f"<{name}>"
    return value


def _differences(path: str, expected: Any, found: Any) -> Iterator[str]:
    if type(expected) is not type(found):
        yield f"{path}: {found!r} is not {expected!r}"
    elif isinstance(expected, dict):
        # The metadata's own order is that of a protobuf map, which means nothing.
        if (list(expected) != list(found)) if path else (set(expected) != set(found)):
            yield f"{path}: the names are {list(found)}, not {list(expected)}"
        for name in expected.keys() & found.keys():
            yield from _differences(f"{path}/{name}", expected[name], found[name])
    elif isinstance(expected, list):
        if len(expected) != len(found):
            yield f"{path}: there are {len(found)} items, not {len(expected)}"
        for index, (one, other) in enumerate(zip(expected, found, strict=False)):
            yield from _differences(f"{path}/{index}", one, other)
    elif expected != found:
        yield f"{path}: {found!r} is not {expected!r}"
