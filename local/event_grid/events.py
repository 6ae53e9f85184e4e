"""Published events: parsing of publish requests, and encoding for deliveries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from local.event_grid.errors import GridError, UnsupportedTypeError

MAX_EVENTS = 5000
"""The most events in one request, as on Azure."""


class Schema(StrEnum):
    """An event schema; the values are the values of an event subscription on Azure."""

    CLOUD_EVENTS = "CloudEventSchemaV1_0"
    EVENT_GRID = "EventGridSchema"


@dataclass(frozen=True)
class GridEvent:
    """One published event, stored unchanged.

    Attributes:
        id: id from the publisher; an event with the same id is a repeat.
        type: event type, by which subscriptions filter.
        time: ISO 8601; empty for a CloudEvent without a time.
        payload: the whole event in `schema`.
        schema: the schema in which the event was published.
    """

    id: str
    type: str
    time: str
    payload: Mapping[str, Any]
    schema: Schema

    @property
    def data(self) -> Any:
        """The event's data: JSON, or base64 text for a binary CloudEvent; None without data."""
        return self.payload.get("data", self.payload.get("data_base64"))

    def as_schema(self, schema: Schema, topic: str) -> dict[str, Any]:
        """Return the event in the schema of a subscription."""
        if schema is self.schema:
            return dict(self.payload)
        if schema is Schema.CLOUD_EVENTS:
            return {
                "specversion": "1.0",
                "id": self.id,
                "type": self.type,
                "source": self.payload.get("topic", topic),
                "subject": self.payload["subject"],
                "time": self.time,
                "data": self.data,
            }
        return {
            "id": self.id,
            "eventType": self.type,
            "topic": topic,
            "subject": self.payload.get("subject", self.payload["source"]),
            "eventTime": self.time,
            "data": self.data,
            "dataVersion": "",
            "metadataVersion": "1",
        }


def parse_events(content_type: str, body: bytes) -> list[GridEvent]:
    """Parse the events of a publish request.

    Args:
        content_type: `application/cloudevents-batch+json` (array), `application/cloudevents+json`
            (one event) or `application/json` (array in the Event Grid schema).
        body: JSON text, UTF-8.

    Raises:
        UnsupportedTypeError: the content type is not supported.
        GridError: the body does not match the content type; the message names the wrong field.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in _READERS:
        raise UnsupportedTypeError(
            f"content type is {kind or 'missing'}; the topic accepts {', '.join(_READERS)}"
        )
    try:
        value = json.loads(body)
    except ValueError as error:
        raise GridError(f"the body is not JSON: {error}") from None
    if kind == "application/cloudevents+json":
        value = [value]
    if not isinstance(value, list):
        raise GridError(f"{kind} must be an array of events, not {_json_type(value)}")
    if not 1 <= len(value) <= MAX_EVENTS:
        raise GridError(f"a request must have 1 to {MAX_EVENTS} events, not {len(value)}")
    return [_READERS[kind](f"event {index}", item) for index, item in enumerate(value)]


def _cloud_event(where: str, value: object) -> GridEvent:
    event = _object(where, value)
    if event.get("specversion") != "1.0":
        raise GridError(f'{where}: specversion is {event.get("specversion")!r}, not "1.0"')
    for name in ("id", "source", "type"):
        _require_text(where, event, name)
    if "data" in event and "data_base64" in event:
        raise GridError(f"{where} has both data and data_base64, of which only one is allowed")
    if (subject := event.get("subject")) is not None and not isinstance(subject, str):
        raise GridError(f"{where}: subject is {_json_type(subject)}, not a string")
    time = event.get("time")
    if time is not None:
        _require_time(where, "time", time)
    return GridEvent(event["id"], event["type"], time or "", event, Schema.CLOUD_EVENTS)


def _grid_event(where: str, value: object) -> GridEvent:
    event = _object(where, value)
    for name in ("id", "subject", "eventType"):
        _require_text(where, event, name)
    _require_time(where, "eventTime", event.get("eventTime"))
    return GridEvent(event["id"], event["eventType"], event["eventTime"], event, Schema.EVENT_GRID)


_READERS = {
    "application/cloudevents-batch+json": _cloud_event,
    "application/cloudevents+json": _cloud_event,
    "application/json": _grid_event,
}


def _object(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise GridError(f"{where} is {_json_type(value)}, not an object")
    return value


def _require_text(where: str, event: Mapping[str, Any], name: str) -> None:
    if name not in event:
        raise GridError(f"{where}: {name} is missing")
    value = event[name]
    if not isinstance(value, str) or not value:
        raise GridError(f"{where}: {name} is {_json_type(value)}, not a non-empty string")


def _require_time(where: str, name: str, value: object) -> None:
    try:
        if isinstance(value, str) and datetime.fromisoformat(value):
            return
    except ValueError:
        pass
    raise GridError(f"{where}: {name} is {value!r}, not an ISO 8601 time")


def _json_type(value: object) -> str:
    """Return the JSON type of a value for an error message."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return "a string" if value else "an empty string"
    names = {bool: "a boolean", list: "an array", dict: "an object"}
    return names.get(type(value), "a number")
