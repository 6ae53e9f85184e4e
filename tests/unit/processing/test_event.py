"""Events, and the translation of the trigger's binding into an EventBatch."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import azure.functions as func
import pytest
from azure_functions_runtime.bindings.datumdef import Datum

from processing.errors import MalformedBatchError
from processing.event import Event, EventBatch
from processing.formats.cut import short_key
from processing.identity import Identity, Source
from tests.support.processing.events import event

CONTEXT = {
    "FullyQualifiedNamespace": "Ns.Example.net",
    "EventHubName": "Events",
    "ConsumerGroup": "$Default",
    "PartitionId": "3",
}


def bound(meta: Mapping[str, Any], body: bytes = b"x") -> func.EventHubEvent:
    return func.EventHubEvent(
        body=body, trigger_metadata={name: datum(value) for name, value in meta.items()}
    )


def datum(value: Any) -> Datum:
    """Return metadata as the worker decodes it: JSON, or the text that some hosts send instead."""
    return Datum(value, "string") if isinstance(value, str) else Datum(json.dumps(value), "json")


def system(number: int, **changes: Any) -> dict[str, Any]:
    """Return the system properties of one event, as extension 6.5.1 writes them."""
    return {
        "x-opt-sequence-number": number,
        "x-opt-enqueued-time": "2026-01-02T03:04:05.678+00:00",
        "x-opt-offset": str(number * 100),
        "x-opt-partition-key": "k",
        "SequenceNumber": number,
        "Offset": str(number * 100),
        "PartitionKey": "k",
        "EnqueuedTimeUtc": "2026-01-02T03:04:05.678",
    } | changes


def metadata(*systems: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "PartitionContext": CONTEXT,
        "PropertiesArray": [{"n": index} for index in range(len(systems))],
        "SystemPropertiesArray": list(systems),
    } | changes


def test_binding_becomes_events_with_all_fields() -> None:
    """Names are in their normal form; times without a zone are in UTC."""
    meta = metadata(system(7), system(8, PartitionKey=None))
    batch = EventBatch.from_binding([bound(meta), bound(meta, b"\xff\x00")])
    assert batch.source == Source(Identity("ns.example.net", "events", "$default"), "3")
    first, second = batch.events
    assert (first.key, first.sequence_number, first.offset) == ("k", 7, "700")
    assert first.id == "ns.example.net/events/3/7/1767323045678"
    assert first.properties == {"n": 0}
    assert second.properties == {"n": 1}
    assert second.body == b"\xff\x00"
    assert second.key is None
    assert first.enqueued_time == datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    assert first.partition == "3"
    assert first.system_properties == {}


@pytest.mark.parametrize(
    "time",
    ["2026-01-02T03:04:05.678", "2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.6789+00:00"],
)
def test_enqueued_time_is_in_whole_milliseconds_of_utc(time: str) -> None:
    """Hosts write times with and without a zone, and with any number of digits."""
    (each,) = EventBatch.from_binding([bound(metadata(system(1, EnqueuedTimeUtc=time)))]).events
    assert each.enqueued_ms == 1_767_323_045_678


def test_system_properties_are_those_of_the_sender() -> None:
    """Attributes of the event are not repeated among them."""
    found = {
        "message-id": "m",
        "correlation-id": "c",
        "content-type": "avro/binary",
        "iothub-connection-device-id": "dev1",
        "x-opt-kafka": 1,
    }
    (each,) = EventBatch.from_binding([bound(metadata(system(1, **found)))]).events
    assert each.system_properties == found
    assert (each.message_id, each.correlation_id, each.content_type) == ("m", "c", "avro/binary")
    assert event(1).content_type is None


@pytest.mark.parametrize(
    ("changes", "offset"),
    [
        ({}, "100"),
        ({"Offset": -1, "OffsetString": "5:77:1"}, "5:77:1"),
        ({"Offset": -1, "x-opt-offset": "5:77:1"}, "5:77:1"),
        ({"Offset": -1, "x-opt-offset": None}, ""),
        ({"Offset": "-1", "x-opt-offset": "-1"}, ""),
        ({"Offset": 300, "x-opt-offset": None}, "300"),
    ],
)
def test_offset_is_text_and_never_minus_one(changes: dict[str, Any], offset: str) -> None:
    """`Offset` is -1 where the offset is not a number; `OffsetString` has the offset then."""
    (each,) = EventBatch.from_binding([bound(metadata(system(1, **changes)))]).events
    assert each.offset == offset


def test_long_key_is_shortened() -> None:
    """Event Hubs refuses such keys; one that came through would fit into no poison message."""
    keys = ["k" * 128, "k" * 60_000 + "a", "k" * 60_000 + "b"]
    meta = metadata(*(system(number, PartitionKey=key) for number, key in enumerate(keys)))
    found = EventBatch.from_binding([bound(meta) for _ in keys]).events
    assert [each.key for each in found] == [keys[0], *map(short_key, keys[1:])]


def test_metadata_as_json_text_are_accepted() -> None:
    """Some hosts send metadata as JSON text."""
    meta = {name: json.dumps(value) for name, value in metadata(system(1)).items()}
    (each,) = EventBatch.from_binding([bound(meta)]).events
    assert each.sequence_number == 1


def test_event_may_have_an_empty_body_and_no_properties() -> None:
    """Properties of null become an empty mapping."""
    meta = metadata(system(1), PropertiesArray=[None])
    (each,) = EventBatch.from_binding([bound(meta, b"")]).events
    assert each.body == b""
    assert each.properties == {}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"PropertiesArray": [{}, {}]}, "PropertiesArray"),
        ({"PropertiesArray": "{}"}, "PropertiesArray"),
        ({"PropertiesArray": [[1]]}, "TypeError"),
        ({"SystemPropertiesArray": []}, "SystemPropertiesArray"),
        ({"SystemPropertiesArray": [None]}, "system properties"),
        ({"SystemPropertiesArray": [{"SequenceNumber": 1}]}, "EnqueuedTimeUtc"),
        ({"SystemPropertiesArray": [system(1, EnqueuedTimeUtc="soon")]}, "soon"),
        ({"SystemPropertiesArray": [system(1, SequenceNumber="x")]}, "'x'"),
        ({"PartitionContext": CONTEXT | {"ConsumerGroup": None}}, "ConsumerGroup"),
        ({"PartitionContext": CONTEXT | {"FullyQualifiedNamespace": ""}}, "Namespace"),
        ({"PartitionContext": []}, "PartitionContext"),
    ],
)
def test_invalid_metadata_is_refused(changes: dict[str, Any], says: str) -> None:
    """The error names the field that is wrong."""
    with pytest.raises(MalformedBatchError, match=says):
        EventBatch.from_binding([bound(metadata(system(1)) | changes)])


def test_binding_without_cardinality_many_is_refused() -> None:
    """The error says what is missing. An empty batch is refused as well."""
    with pytest.raises(MalformedBatchError, match="cardinality many"):
        EventBatch.from_binding([bound({"PartitionContext": CONTEXT})])
    with pytest.raises(MalformedBatchError, match="empty batch"):
        EventBatch.from_binding([])


def test_json_parses_the_body() -> None:
    """A body that is not JSON raises ValueError."""
    assert event(1, body=b'{"a": 1}').json() == {"a": 1}
    with pytest.raises(ValueError, match="codec"):
        event(1, body=b"\xff").json()


def _set(properties: Any) -> None:
    properties["lock"] = 1


def _merge(properties: Any) -> None:
    properties |= {"lock": 1}


CHANGES: dict[str, Callable[[Any], object]] = {
    "set": _set,
    "merge": _merge,
    "delete": lambda properties: properties.__delitem__("n"),
    "pop": lambda properties: properties.pop("n"),
    "popitem": lambda properties: properties.popitem(),
    "clear": lambda properties: properties.clear(),
    "update": lambda properties: properties.update(n=2),
    "setdefault": lambda properties: properties.setdefault("lock", 1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("name", ["properties", "system_properties"])
def test_properties_cannot_be_changed(name: str, change: Callable[[Any], object]) -> None:
    """A handler that changed them would change what the poison queue stores."""
    meta = metadata(system(1, **{"message-id": "m", "n": 1}), PropertiesArray=[{"n": 1}])
    (each,) = EventBatch.from_binding([bound(meta)]).events
    before = dict(getattr(each, name))
    with pytest.raises(TypeError, match="cannot be changed"):
        change(getattr(each, name))
    assert getattr(each, name) == before


NESTED_CHANGES: dict[str, Callable[[Any], object]] = {
    "append": lambda nested: nested["list"].append(1),
    "extend": lambda nested: nested["list"].extend([1]),
    "insert": lambda nested: nested["list"].insert(0, 1),
    "index": lambda nested: nested["list"].__setitem__(0, 1),
    "delete": lambda nested: nested["list"].__delitem__(0),
    "add": lambda nested: nested["list"].__iadd__([1]),
    "multiply": lambda nested: nested["list"].__imul__(2),
    "remove": lambda nested: nested["list"].remove(1),
    "pop": lambda nested: nested["list"].pop(),
    "clear": lambda nested: nested["list"].clear(),
    "reverse": lambda nested: nested["list"].reverse(),
    "sort": lambda nested: nested["list"].sort(),
    "deep list": lambda nested: nested["list"][1].append(1),
    "deep object": lambda nested: nested["object"]["o"].update(x=1),
}


@pytest.mark.parametrize("change", NESTED_CHANGES.values(), ids=NESTED_CHANGES)
@pytest.mark.parametrize("as_text", [True, False])
def test_nested_properties_cannot_be_changed(
    as_text: bool, change: Callable[[Any], object]
) -> None:
    """A list or an object inside the properties is as frozen as the properties."""
    value = {"list": [3, [1, 2]], "object": {"o": {"n": 1}}}
    arrays: dict[str, Any] = {
        "PropertiesArray": [{"n": value}],
        "SystemPropertiesArray": [system(1, n=value)],
    }
    meta = metadata(
        **{name: json.dumps(each) if as_text else each for name, each in arrays.items()}
    )
    (each,) = EventBatch.from_binding([bound(meta)]).events
    for properties in (each.properties, each.system_properties):
        with pytest.raises(TypeError, match="cannot be changed"):
            change(properties["n"])
        assert properties == {"n": value}
        assert json.loads(json.dumps(properties)) == {"n": value}
    assert pickle.loads(pickle.dumps(each)) == copy.deepcopy(each) == each  # noqa: S301 - our own


def test_very_deep_properties_are_frozen_without_recursion() -> None:
    """The sender decides how deep the values are."""
    value: Any = []
    for _ in range(5_000):
        value = [value]
    meta = metadata(system(1), PropertiesArray=[{"n": value}])
    (each,) = EventBatch.from_binding([bound(meta)]).events
    nested = each.properties["n"]
    while nested:
        nested = nested[0]
    with pytest.raises(TypeError, match="cannot be changed"):
        nested.append(1)


def test_event_can_be_copied_pickled_and_written_as_json() -> None:
    """A handler may send the event to another process."""
    meta = metadata(system(1, **{"message-id": "m"}))
    (each,) = EventBatch.from_binding([bound(meta)]).events
    for same in (copy.deepcopy(each), pickle.loads(pickle.dumps(each))):  # noqa: S301 - our own
        assert same == each
        assert isinstance(same, Event)
        with pytest.raises(TypeError):
            same.properties["x"] = 1  # type: ignore[index]
    assert json.loads(json.dumps(each.properties)) == {"n": 0}
