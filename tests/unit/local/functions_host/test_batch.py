"""Encoded events, decoded by Microsoft's worker library."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import azure.functions as func
import pytest
from azure.eventhub._pyamqp._encode import encode_payload
from azure.eventhub._pyamqp.message import Message, Properties
from azure.functions.eventhub import EventHubTriggerConverter
from hypothesis import given
from hypothesis import strategies as st

from local.functions_host.site.manual import manual_invocation
from local.functions_host.triggers.event_hubs.decoding import UnreadableEventError, decode_event
from local.functions_host.triggers.event_hubs.encoding import (
    BindingError,
    DataType,
    PartitionContext,
    encode_batch,
    encode_one,
)
from local.functions_host.triggers.event_hubs.event import ReceivedEvent
from local.functions_host.worker.functions import Function

CONTEXT = PartitionContext("NS.local:5672", "events", "$Default", "3").to_json()
ENQUEUED = datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)


def event(
    body: bytes | None = b"{}",
    number: int = 0,
    *,
    key: str | None = "k",
    offset: str = "7",
    properties: dict[Any, Any] | None = None,
    annotations: dict[str | bytes, Any] | None = None,
    amqp: Properties | None = None,
    enqueued: datetime = ENQUEUED,
    **form: Any,
) -> ReceivedEvent:
    """Return an event as received from the service."""
    service: dict[str | bytes, Any] = {
        "x-opt-sequence-number": number,
        "x-opt-enqueued-time": enqueued,
        "x-opt-offset": offset,
    }
    if key is not None:
        service["x-opt-partition-key"] = key
    message = Message(
        data=None if body is None else [body],
        message_annotations=service | dict(annotations or {}),
        application_properties=properties,
        properties=amqp,
        **form,
    )
    encoded = bytearray()
    encode_payload(encoded, message)
    return decode_event(memoryview(encoded))


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
    assert found[0].enqueued_time == ENQUEUED.replace(tzinfo=None)
    assert str(found[0].offset) == "7"


def test_properties_are_aligned_by_index_where_some_have_none() -> None:
    found = decoded(
        [
            event(number=1, key=None, properties=None),
            event(number=2, properties={"run": "r", "counter": 5, "ratio": 0.5, "ok": True}),
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
        "IsCheckpointingAfterInvocation": True,
        "FullyQualifiedNamespace": "ns.local",
        "EventHubName": "events",
        "ConsumerGroup": "$Default",
        "PartitionId": "3",
    }
    assert metadata["TriggerPartitionContext"] == metadata["PartitionContext"]


def test_system_properties_have_amqps_own_and_the_services() -> None:
    """AMQP's properties come first, then the annotations, then the extension's own names."""
    found = decoded(
        [
            event(
                amqp=Properties(message_id="m", content_type="application/json"),
                annotations={
                    "iothub-connection-device-id": "d",
                    "x-when": ENQUEUED,
                    "x-map": {"a": ["b"]},
                },
            )
        ]
    )
    metadata = found[0].metadata
    assert metadata is not None
    (system,) = metadata["SystemPropertiesArray"]
    assert list(system.items()) == [
        ("message-id", "m"),
        ("content-type", "application/json"),
        ("x-opt-sequence-number", 0),
        ("x-opt-enqueued-time", "2026-01-31T12:00:00.123+00:00"),
        ("x-opt-offset", "7"),
        ("x-opt-partition-key", "k"),
        ("iothub-connection-device-id", "d"),
        ("x-when", "2026-01-31T12:00:00.123Z"),
        ("x-map", {"a": ["b"]}),
        ("SequenceNumber", 0),
        ("Offset", "7"),
        ("PartitionKey", "k"),
        ("EnqueuedTimeUtc", "2026-01-31T12:00:00.123"),
    ]
    assert found[0].iothub_metadata == {"connection-device-id": "d"}


@pytest.mark.parametrize(
    ("offset", "number"), [("12345", 12345), ("1:2:3", -1), ("", -1), ("\u0663", -1)]
)
def test_later_extension_has_offsets_as_numbers_and_as_text(offset: str, number: int) -> None:
    """A geo-replicated namespace has offsets that are no number; then the number is -1."""
    _, metadata = encode_batch([event(offset=offset)], "binary", CONTEXT, "6.5.2")
    (system,) = json.loads(metadata["SystemPropertiesArray"].value)
    assert list(system.items())[-5:] == [
        ("SequenceNumber", 0),
        ("Offset", number),
        ("OffsetString", offset),
        ("PartitionKey", "k"),
        ("EnqueuedTimeUtc", "2026-01-31T12:00:00.123"),
    ]
    assert metadata["OffsetArray"].value.string == [str(number)]
    assert metadata["OffsetStringArray"].value.string == [offset]


@pytest.mark.parametrize(
    ("microsecond", "text"), [(0, ""), (490_000, ".49"), (500_000, ".5"), (7_000, ".007")]
)
def test_fraction_of_a_second_ends_without_zeros(microsecond: int, text: str) -> None:
    """.NET's JSON leaves out zeros at the end; the worker library reads each form."""
    time = ENQUEUED.replace(microsecond=microsecond)
    datum, metadata = encode_batch([event(enqueued=time)], "binary", CONTEXT)
    assert json.loads(metadata["EnqueuedTimeUtcArray"].value) == [f"2026-01-31T12:00:00{text}"]
    found = EventHubTriggerConverter.decode(datum, trigger_metadata=metadata)
    assert isinstance(found, list)
    assert found[0].enqueued_time == time.replace(tzinfo=None)


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
    "form", [{"value": "text"}, {"value": b"bytes"}, {"value": {"a": 1}}, {"sequence": [[1, "b"]]}]
)
def test_value_and_sequence_bodies_cannot_be_bound(form: dict[str, Any]) -> None:
    odd = event(None, **form)
    with pytest.raises(BindingError, match="AMQP value or sequence"):
        encode_batch([event(), odd], "binary", CONTEXT)
    with pytest.raises(BindingError):
        encode_one(odd, "binary", CONTEXT)


def test_data_sections_are_one_body() -> None:
    message = bytearray()
    encode_payload(message, Message(data=[b"a", b"", b"b"]))
    assert decode_event(memoryview(message)).body == b"ab"
    assert decode_event(memoryview(b"")).body == b""


def test_bodies_nested_too_deeply_to_be_json_are_text() -> None:
    """Such an event must not block its partition forever."""
    deep = b"[" * 100_000
    assert [item.get_body() for item in decoded([event(deep)], "")] == [deep]


def test_texts_that_are_not_utf8_are_decoded() -> None:
    found = decode_event(_with_property(b"\xa1\x02\xffa")).application_properties
    assert found == {"n": "\ufffda"}


def test_each_type_of_property_has_the_form_of_dotnets_json() -> None:
    """Values for which JSON has no type become texts, except decimals."""
    properties = {
        "id": UUID(int=1),
        "when": datetime(2026, 1, 31, tzinfo=UTC),
        "before": datetime(1969, 12, 31, 23, 59, 59, 250_000, tzinfo=UTC),
        "raw": b"\xff",
        "none": None,
        "nan": float("nan"),
        "most": float("inf"),
        "least": float("-inf"),
        "whole": 5.0,
        "truth": True,
    }
    _, metadata = encode_batch([event(properties=properties)], "binary", CONTEXT)
    assert metadata["PropertiesArray"].value == (
        '[{"id":"00000000-0000-0000-0000-000000000001","when":"2026-01-31T00:00:00Z",'
        '"before":"1969-12-31T23:59:59.25Z","raw":"/w==","none":null,"nan":"NaN",'
        '"most":"Infinity","least":"-Infinity","whole":5.0,"truth":true}]'
    )


@pytest.mark.parametrize(
    ("value", "digits"),
    [("12.50", "12.50"), ("7", "7.0"), ("-0.001", "-0.001"), ("1E+3", "1000.0"), ("0.00", "0.00")],
)
def test_decimals_are_numbers_with_their_digits(value: str, digits: str) -> None:
    received = ReceivedEvent(application_properties={"a": Decimal(value), "b": "ß", "c": [1]})
    _, metadata = encode_batch([received], "binary", CONTEXT)
    assert metadata["PropertiesArray"].value == f'[{{"a":{digits},"b":"\\u00df","c":[1]}}]'


@pytest.mark.parametrize(
    ("code", "number", "value"),
    [
        (0x74, (101 - 2) << 23 | 1250, "12.50"),
        (0x84, (398 + 3) << 53 | 9_007_199_254_740_991, "9.007199254740991E+18"),
        (0x94, (6176 - 30) << 113 | 10**33 + 7, "1000.000000000000000000000000000007"),
        (0x74, 1 << 31 | 0b11 << 29 | 101 << 21 | 1_611_391, "-9999999"),
        (0x84, 398 << 53, "0"),
    ],
)
def test_decimals_of_each_width_are_read(code: int, number: int, value: str) -> None:
    """The significand is a binary integer, whose first bits are implicit if it is large."""
    width = 1 << (code >> 4) - 5
    found = decode_event(_with_property(bytes([code]) + number.to_bytes(width)))
    (decimal,) = found.application_properties.values()
    assert decimal.as_tuple() == Decimal(value).as_tuple()


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        (b"\x73\x00\x01\xf6\x00", "\U0001f600"),  # a char
        (b"\x83\x7f" + b"\xff" * 7, datetime.max.replace(tzinfo=UTC)),
        (b"\x83\x80" + bytes(7), datetime.min.replace(tzinfo=UTC)),
        (b"\x00\xa3\x01d\xa1\x01t", "t"),  # a described text
        (b"\xb1\x00\x00\x00\x01t", "t"),
        (b"\xa3\x01s", "s"),
    ],
)
def test_values_that_the_stock_client_reads_otherwise(encoded: bytes, value: object) -> None:
    assert decode_event(_with_property(encoded)).application_properties == {"n": value}


@pytest.mark.parametrize(
    "encoded", [b"\x45", b"\xc0\x01\x00", b"\xc1\x01\x00", b"\x94" + b"\x78" * 16]
)
def test_properties_that_dotnet_cannot_read_are_refused(encoded: bytes) -> None:
    """Lists, maps, and decimals that are not finite."""
    with pytest.raises(UnreadableEventError):
        decode_event(_with_property(encoded))


def _with_property(encoded: bytes) -> memoryview:
    """Return a message whose application property `n` is encoded so."""
    entry = b"\xa1\x01n" + encoded
    return memoryview(b"\x00\x53\x74\xc1" + bytes([len(entry) + 1, 2]) + entry)


@given(
    bodies=st.lists(st.binary(max_size=50), min_size=1, max_size=5),
    names=st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers(-9, 9)),
)
def test_any_bytes_and_any_texts_pass_unchanged(
    bodies: list[bytes], names: dict[str, str | int]
) -> None:
    found = decoded([event(body, properties=names) for body in bodies])
    assert [item.get_body() for item in found] == bodies
    metadata = found[0].metadata
    assert metadata is not None
    assert metadata["PropertiesArray"] == [names] * len(bodies)


@pytest.mark.parametrize("data_type", ["binary", "string", ""])
def test_cardinality_one(data_type: DataType) -> None:
    datum, metadata = encode_one(event(b'{"a": 1}', 5, properties={"run": "r"}), data_type, CONTEXT)
    found = EventHubTriggerConverter.decode(datum, trigger_metadata=metadata)
    assert isinstance(found, func.EventHubEvent)
    assert found.get_body() == b'{"a": 1}'
    assert found.sequence_number == 5
    assert found.partition_key == "k"
    assert found.offset == "7"
    assert found.enqueued_time == ENQUEUED.replace(tzinfo=None)
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
