"""Accepted events of a topic, and the errors of refused events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.event_grid.errors import GridError, UnsupportedTypeError
from local.event_grid.events import MAX_EVENTS, Schema, parse_events

BATCH = "application/cloudevents-batch+json; charset=utf-8"
SINGLE = "application/cloudevents+json"
GRID = "application/json"

CLOUD: dict[str, Any] = {
    "specversion": "1.0",
    "id": "breakwater:1:opened",
    "source": "/breakwater",
    "type": "breakwater.circuit.opened",
    "time": "2026-11-21T20:00:00Z",
    "data": {"generation": 1},
}
EVENT_GRID: dict[str, Any] = {
    "id": "1",
    "subject": "circuit",
    "eventType": "breakwater.circuit.opened",
    "eventTime": "2026-11-21T20:00:00.1234567Z",
    "data": {"generation": 1},
    "dataVersion": "1",
}


def without(event: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != name}


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def test_a_batch_of_cloud_events_is_read_in_order() -> None:
    events = parse_events(BATCH, body([CLOUD, CLOUD | {"id": "2"}]))
    assert [event.id for event in events] == ["breakwater:1:opened", "2"]
    assert events[0].type == "breakwater.circuit.opened"
    assert events[0].data == {"generation": 1}


def test_a_single_cloud_event_needs_no_array() -> None:
    assert len(parse_events(SINGLE, body(CLOUD))) == 1


def test_plain_json_is_read_as_event_grid_schema() -> None:
    [event] = parse_events(GRID, body([EVENT_GRID]))
    assert (event.type, event.schema) == ("breakwater.circuit.opened", Schema.EVENT_GRID)


def test_a_cloud_event_needs_no_time_or_data() -> None:
    [event] = parse_events(SINGLE, body(without(without(CLOUD, "time"), "data")))
    assert event.data is None


def test_binary_data_is_kept_as_base64() -> None:
    [event] = parse_events(SINGLE, body(without(CLOUD, "data") | {"data_base64": "AAE="}))
    assert event.data == "AAE="


@pytest.mark.parametrize(
    ("kind", "value", "complaint"),
    [
        (BATCH, CLOUD, "must be an array of events, not an object"),
        (BATCH, [], f"must have 1 to {MAX_EVENTS} events, not 0"),
        (BATCH, ["x"], "event 0 is a string, not an object"),
        (SINGLE, [CLOUD], "event 0 is an array, not an object"),
        (BATCH, [CLOUD, without(CLOUD, "id")], "event 1: id is missing"),
        (BATCH, [CLOUD | {"type": ""}], "event 0: type is an empty string"),
        (BATCH, [CLOUD | {"source": 5}], "event 0: source is a number"),
        (BATCH, [CLOUD | {"specversion": "0.3"}], "event 0: specversion is '0.3'"),
        (BATCH, [CLOUD | {"time": "yesterday"}], "event 0: time is 'yesterday'"),
        (BATCH, [CLOUD | {"subject": None, "data_base64": ""}], "both data and data_base64"),
        (BATCH, [CLOUD | {"subject": 1}], "event 0: subject is a number"),
        (GRID, [without(EVENT_GRID, "subject")], "event 0: subject is missing"),
        (GRID, [without(EVENT_GRID, "eventTime")], "event 0: eventTime is None"),
        (GRID, [CLOUD], "event 0: subject is missing"),
        (GRID, None, "must be an array of events, not null"),
    ],
)
def test_malformed_events_are_refused_with_the_reason(
    kind: str, value: object, complaint: str
) -> None:
    with pytest.raises(GridError) as error:
        parse_events(kind, body(value))
    assert complaint in str(error.value)
    assert error.value.status == 400


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe"])
def test_a_body_that_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(GridError, match="not JSON"):
        parse_events(BATCH, text)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/xml"])
def test_other_content_types_are_refused_with_the_accepted_types(kind: str) -> None:
    with pytest.raises(UnsupportedTypeError, match=r"cloudevents-batch\+json"):
        parse_events(kind, b"[]")


def test_events_are_translated_between_the_schemas() -> None:
    [cloud] = parse_events(SINGLE, body(CLOUD))
    [grid] = parse_events(GRID, body([EVENT_GRID]))
    assert cloud.as_schema(Schema.CLOUD_EVENTS, "t") == CLOUD
    assert grid.as_schema(Schema.EVENT_GRID, "t") == EVENT_GRID
    as_grid = cloud.as_schema(Schema.EVENT_GRID, "t")
    assert as_grid["eventType"] == CLOUD["type"]
    assert as_grid["subject"] == "/breakwater"
    as_cloud = grid.as_schema(Schema.CLOUD_EVENTS, "t")
    assert parse_events(SINGLE, body(as_cloud))[0].data == {"generation": 1}
