"""The check that a poison message has every field that a redrive needs."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from loadtest.plan.marks import DEADLY, Fault

_TEXT_FIELDS = ("id", "partition", "enqueued_time", "handler", "instance")
_TIME_FIELDS = ("enqueued_time", "first_attempt_time", "last_attempt_time")


def identify(message: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return the key and counter of a poison message's event, or None if they are missing."""
    properties = message.get("properties")
    if not isinstance(properties, Mapping):
        return None
    key, counter = properties.get("key"), properties.get("counter")
    if not isinstance(key, str) or not isinstance(counter, int):
        return None
    return key, counter


def problems(
    message: Mapping[str, Any], key: str, counter: int, fault: Fault | None, max_attempts: int
) -> list[str]:
    """Return a line for each missing or wrong field in the poison message of an event."""
    found = [
        f"{name} is {message.get(name)!r}, expected a non-empty text"
        for name in _TEXT_FIELDS
        if not (isinstance(message.get(name), str) and message[name])
    ]
    if message.get("key") != key:
        found.append(f"key is {message.get('key')!r}, expected {key!r}")
    sequence = message.get("sequence_number")
    if not isinstance(sequence, int) or sequence < 0:
        found.append(f"sequence_number is {sequence!r}, expected a number of 0 or more")
    found += _body_problems(message.get("body"), key, counter)
    found += _property_problems(message.get("properties"), fault)
    found += _time_problems(message)
    error = message.get("error")
    if not isinstance(error, Mapping) or not error.get("type") or "message" not in error:
        found.append(f"error is {error!r}, expected type and message")
    if fault is not None and fault not in DEADLY:
        expected = 1 if fault is Fault.POISON else max_attempts
        if message.get("attempts") != expected:
            found.append(f"attempts is {message.get('attempts')!r}, expected {expected}")
    return found


def _body_problems(body: object, key: str, counter: int) -> list[str]:
    if not isinstance(body, str):
        return [f"body is {body!r}, expected base64 text"]
    try:
        content = json.loads(base64.b64decode(body, validate=True))
    except (binascii.Error, ValueError) as error:
        return [f"body is not the JSON that was sent: {error}"]
    if not isinstance(content, Mapping) or (content.get("key"), content.get("counter")) != (
        key,
        counter,
    ):
        return [f"body is {content!r}, expected key {key!r} and counter {counter}"]
    return []


def _property_problems(properties: object, fault: Fault | None) -> list[str]:
    if not isinstance(properties, Mapping):
        return [f"properties is {properties!r}, expected the application properties"]
    found = []
    if not properties.get("run"):
        found.append("properties.run is missing")
    simulate = properties.get("simulate")
    if simulate != (None if fault is None else fault.value):
        found.append(f"properties.simulate is {simulate!r}, expected {fault!r}")
    return found


def _time_problems(message: Mapping[str, Any]) -> list[str]:
    times: dict[str, datetime] = {}
    found: list[str] = []
    for name in _TIME_FIELDS:
        try:
            times[name] = datetime.fromisoformat(message[name])
        except (KeyError, TypeError, ValueError):
            found.append(f"{name} is {message.get(name)!r}, expected an ISO 8601 time")
    first, last = times.get("first_attempt_time"), times.get("last_attempt_time")
    if first is not None and last is not None and first > last:
        found.append(f"first_attempt_time {first} is after last_attempt_time {last}")
    return found
