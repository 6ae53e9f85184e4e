"""Translation of the trigger's binding into an EventBatch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import azure.functions as func
import pytest
from azure_functions_runtime.bindings.datumdef import Datum

from processing.errors import MalformedBatchError
from processing.event import EventBatch, Source

CONTEXT = {"EventHubName": "events", "ConsumerGroup": "$Default", "PartitionId": "3"}


def bound(index: int, metadata: Mapping[str, Any], **values: Any) -> func.EventHubEvent:
    defaults: dict[str, Any] = {
        "body": b"x",
        "enqueued_time": datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC),
        "partition_key": "k",
        "sequence_number": index,
        "offset": index * 100,
    }
    return func.EventHubEvent(
        **(defaults | values),
        trigger_metadata={name: datum(value) for name, value in metadata.items()},
    )


def datum(value: Any) -> Datum:
    """Return metadata as the worker decodes it: JSON, or the text that some hosts send instead."""
    return Datum(value, "string") if isinstance(value, str) else Datum(json.dumps(value), "json")


def metadata(count: int, **changes: Any) -> dict[str, Any]:
    return {
        "PartitionContext": CONTEXT,
        "PropertiesArray": [{"n": index} for index in range(count)],
    } | changes


def test_binding_becomes_events_with_all_fields() -> None:
    """Times are in UTC and in whole milliseconds."""
    meta = metadata(2)
    batch = EventBatch.from_binding(
        [bound(7, meta), bound(8, meta, body=b"\xff\x00", partition_key=None)]
    )
    assert batch.source == Source("events", "$Default", "3")
    first, second = batch.events
    assert (first.key, first.sequence_number, first.offset) == ("k", 7, "700")
    assert first.properties == {"n": 0}
    assert second.properties == {"n": 1}
    assert second.body == b"\xff\x00"
    assert second.key is None
    assert first.enqueued_time == datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    assert first.partition == "3"


def test_metadata_as_json_text_and_naive_times_are_accepted() -> None:
    """Some hosts send metadata as JSON text, and some times without a time zone."""
    meta = {name: json.dumps(value) for name, value in metadata(1).items()}
    naive = datetime(2026, 1, 1)
    (event,) = EventBatch.from_binding([bound(0, meta, enqueued_time=naive)]).events
    assert event.enqueued_time == datetime(2026, 1, 1, tzinfo=UTC)


def test_event_may_have_an_empty_body_and_no_properties() -> None:
    """Properties of null become an empty mapping."""
    meta = metadata(1, PropertiesArray=[None])
    (event,) = EventBatch.from_binding([bound(0, meta, body=b"")]).events
    assert event.body == b""
    assert event.properties == {}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"PropertiesArray": [{}, {}]}, "PropertiesArray"),
        ({"PropertiesArray": "{}"}, "PropertiesArray"),
        ({"PartitionContext": {"EventHubName": "events"}}, "ConsumerGroup"),
        ({"PartitionContext": []}, "PartitionContext"),
    ],
)
def test_invalid_metadata_is_refused(changes: dict[str, Any], says: str) -> None:
    """The error names the field that is wrong."""
    with pytest.raises(MalformedBatchError, match=says):
        EventBatch.from_binding([bound(0, metadata(1, **changes))])


def test_binding_without_cardinality_many_is_refused() -> None:
    """The error says what is missing. An empty batch is refused as well."""
    with pytest.raises(MalformedBatchError, match="cardinality many"):
        EventBatch.from_binding([bound(0, {"PartitionContext": CONTEXT})])
    with pytest.raises(MalformedBatchError, match="empty batch"):
        EventBatch.from_binding([])


def test_json_parses_the_body() -> None:
    """A body that is not JSON raises ValueError."""
    meta = metadata(2)
    good, bad = EventBatch.from_binding(
        [bound(0, meta, body=b'{"a": 1}'), bound(1, meta, body=b"\xff")]
    ).events
    assert good.json() == {"a": 1}
    with pytest.raises(ValueError, match="codec"):
        bad.json()
