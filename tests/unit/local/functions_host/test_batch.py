"""Encoded events, decoded by Microsoft's worker library."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import azure.functions as func
import pytest
from azure.eventhub._pyamqp.message import Message, Properties
from azure.functions.eventhub import EventHubTriggerConverter
from hypothesis import given
from hypothesis import strategies as st

from local.functions_host.site.manual import manual_invocation
from local.functions_host.triggers.event_hubs.encoding import (
    DataType,
    PartitionContext,
    encode_batch,
    encode_one,
)
from local.functions_host.triggers.event_hubs.receiver import ReceivedEvent
from local.functions_host.worker.functions import Function

CONTEXT = PartitionContext("ns.local", "events", "$Default", "3").to_json()
ENQUEUED_MS = 1_769_860_800_123  # 2026-01-31T12:00:00.123Z


def event(
    body: bytes | None = b"{}",
    number: int = 0,
    *,
    key: str | None = "k",
    offset: str = "7",
    properties: dict[Any, Any] | None = None,
    annotations: dict[str | bytes, Any] | None = None,
    amqp: Properties | None = None,
    **form: Any,
) -> ReceivedEvent:
    """Return an event as the SDK's decoder returns it."""
    service: dict[str | bytes, Any] = {
        b"x-opt-sequence-number": number,
        b"x-opt-offset": offset.encode(),
        b"x-opt-enqueued-time": ENQUEUED_MS,
    }
    if key is not None:
        service[b"x-opt-partition-key"] = key.encode()
    return ReceivedEvent(
        Message(
            data=None if body is None else [body],
            message_annotations=service | (annotations or {}),
            application_properties=properties,
            properties=amqp,
            **form,
        )
    )


def decoded(
    events: list[ReceivedEvent], data_type: DataType = "binary"
) -> list[func.EventHubEvent]:
    """Return the events as a function gets them from Microsoft's converter."""
    datum, metadata = encode_batch(events, data_type, CONTEXT)
    found = EventHubTriggerConverter.decode(datum, trigger_metadata=metadata)
    assert isinstance(found, list)
    return found


def test_binary_batch_is_decoded_unchanged() -> None:
    bodies = [b"", b"\xff\x00", b'{"a": 1}', b"x" * 1_000_000]
    found = decoded([event(body, number) for number, body in enumerate(bodies)])
    assert [item.get_body() for item in found] == bodies
    assert [item.sequence_number for item in found] == [0, 1, 2, 3]
    assert [item.partition_key for item in found] == ["k"] * 4
    assert found[0].enqueued_time == datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)
    assert str(found[0].offset) == "7"


def test_properties_are_aligned_by_index_where_some_have_none() -> None:
    found = decoded(
        [
            event(number=1, key=None, properties=None),
            event(number=2, properties={b"run": b"r", b"counter": 5, b"ratio": 0.5, b"ok": True}),
        ]
    )
    metadata = found[0].metadata
    assert metadata is not None
    assert metadata["PropertiesArray"] == [{}, {"run": "r", "counter": 5, "ratio": 0.5, "ok": True}]
    systems = metadata["SystemPropertiesArray"]
    assert [system["PartitionKey"] for system in systems] == [None, "k"]
    assert [system["SequenceNumber"] for system in systems] == [1, 2]
    assert metadata["SequenceNumberArray"] == [1, 2]
    assert metadata["PartitionKeyArray"] == ["k"]  # without events that have no key, as on Azure
    assert metadata["PartitionContext"] == {
        "FullyQualifiedNamespace": "ns.local",
        "EventHubName": "events",
        "ConsumerGroup": "$Default",
        "PartitionId": "3",
    }
    assert metadata["TriggerPartitionContext"] == metadata["PartitionContext"]


def test_system_properties_have_amqps_own_and_the_services() -> None:
    found = decoded(
        [
            event(
                amqp=Properties(message_id=b"m", content_type=b"application/json"),
                annotations={b"iothub-connection-device-id": b"d", b"x-when": 5},
                offset="12:34:5",
            )
        ]
    )
    metadata = found[0].metadata
    assert metadata is not None
    (system,) = metadata["SystemPropertiesArray"]
    assert system == {
        "x-opt-sequence-number": 0,
        "x-opt-offset": "12:34:5",
        "x-opt-enqueued-time": "2026-01-31T12:00:00.123+00:00",
        "x-opt-partition-key": "k",
        "iothub-connection-device-id": "d",
        "x-when": 5,
        "message-id": "m",
        "content-type": "application/json",
        "SequenceNumber": 0,
        "Offset": -1,  # text would make the worker reject the batch
        "OffsetString": "12:34:5",
        "PartitionKey": "k",
        "EnqueuedTimeUtc": "2026-01-31T12:00:00.123+00:00",
    }
    assert found[0].iothub_metadata == {"connection-device-id": "d"}


def test_string_batches_with_an_empty_body_fail_as_on_the_platform() -> None:
    assert [item.get_body() for item in decoded([event(b"a"), event(b"b")], "string")] == [
        b"a",
        b"b",
    ]
    with pytest.raises(AssertionError, match="Number of bodies and metadata mismatched"):
        decoded([event(b"a"), event(b"")], "string")


def test_without_a_data_type_bodies_are_json_if_all_are() -> None:
    assert [item.get_body() for item in decoded([event(b'{"a":1}'), event(b"2")], "")] == [
        b'{"a": 1}',
        b"2",
    ]
    assert [item.get_body() for item in decoded([event(b"1"), event(b"no json")], "")] == [
        b"1",
        b"no json",
    ]


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ({"value": None}, b""),
        ({"value": b"bytes"}, b"bytes"),
        ({"value": "text"}, b"text"),
        ({"value": {b"a": [1, b"b"]}}, b'{"a":[1,"b"]}'),
        ({"sequence": [[1, b"b"]]}, b'[[1,"b"]]'),
    ],
)
def test_amqp_values_of_other_senders_become_bytes(form: dict[str, Any], body: bytes) -> None:
    assert decoded([event(None, **form)])[0].get_body() == body


def test_bodies_nested_too_deeply_to_be_json_are_text() -> None:
    """Such an event must not block its partition forever."""
    deep = b"[" * 100_000
    assert [item.get_body() for item in decoded([event(deep)], "")] == [deep]


def test_a_property_name_that_is_not_text_is_decoded() -> None:
    metadata = decoded([event(b"a", properties={b"\xff": 1, b"b": 2})])[0].metadata
    assert metadata is not None
    assert metadata["PropertiesArray"] == [{"\ufffd": 1, "b": 2}]


def test_properties_that_json_does_not_support_become_text() -> None:
    properties = {
        b"id": UUID(int=1),
        b"when": datetime(2026, 1, 31, tzinfo=UTC),
        b"map": {b"a": b"b"},
        b"raw": b"\xff",
        b"none": None,
    }
    metadata = decoded([event(properties=properties)])[0].metadata
    assert metadata is not None
    assert metadata["PropertiesArray"][0] == {
        "id": "00000000-0000-0000-0000-000000000001",
        "when": "2026-01-31T00:00:00+00:00",
        "map": {"a": "b"},
        "raw": "\ufffd",
        "none": None,
    }


@given(
    bodies=st.lists(st.binary(max_size=50), min_size=1, max_size=5),
    names=st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers(-9, 9)),
)
def test_any_bytes_and_any_texts_pass_unchanged(
    bodies: list[bytes], names: dict[str, str | int]
) -> None:
    amqp = {
        name.encode("utf-8", "surrogatepass"): value.encode("utf-8", "surrogatepass")
        if isinstance(value, str)
        else value
        for name, value in names.items()
    }
    found = decoded([event(body, properties=amqp) for body in bodies])
    assert [item.get_body() for item in found] == bodies
    metadata = found[0].metadata
    assert metadata is not None
    assert metadata["PropertiesArray"] == [names] * len(bodies)


@pytest.mark.parametrize("data_type", ["binary", "string", ""])
def test_cardinality_one(data_type: DataType) -> None:
    datum, metadata = encode_one(
        event(b'{"a": 1}', 5, properties={b"run": b"r"}), data_type, CONTEXT
    )
    found = EventHubTriggerConverter.decode(datum, trigger_metadata=metadata)
    assert isinstance(found, func.EventHubEvent)
    assert found.get_body() == b'{"a": 1}'
    assert found.sequence_number == 5
    assert found.partition_key == "k"
    assert found.offset == "7"
    assert found.enqueued_time == datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)
    assert found.metadata is not None
    assert found.metadata["Properties"] == {"run": "r"}


def _function(kind: str, **binding: Any) -> Function:
    return Function("f", "id", {"type": kind, "name": "x", **binding}, (), None)


def test_a_manual_run_of_a_function_gets_one_event() -> None:
    trigger = _function("eventHubTrigger", cardinality="MANY", dataType="BINARY")
    invocation = manual_invocation(trigger, {"a": 1})
    found = EventHubTriggerConverter.decode(invocation.datum, trigger_metadata=invocation.metadata)
    assert isinstance(found, list)
    assert found[0].get_body() == b'{"a": 1}'


def test_a_manual_run_of_a_timer_needs_no_input() -> None:
    invocation = manual_invocation(_function("timerTrigger"), None)
    assert json.loads(invocation.datum.value)["IsPastDue"] is False


def test_unsupported_manual_runs_are_rejected() -> None:
    with pytest.raises(ValueError, match="takes an event as a JSON object"):
        manual_invocation(_function("eventGridTrigger"), "text")
    with pytest.raises(ValueError, match="blobTrigger cannot be run manually"):
        manual_invocation(_function("blobTrigger"), "text")
