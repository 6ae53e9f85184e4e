"""The lean bound events have the values that azure-functions would give them."""

from __future__ import annotations

import inspect
import json
import logging
import sys
from collections.abc import Mapping
from typing import Any, cast

import azure.functions as func
import pytest
from azure.functions.eventhub import EventHubTriggerConverter
from azure.functions.meta import Datum
from azure_functions_runtime.bindings.datumdef import Datum as RuntimeDatum
from hypothesis import given
from hypothesis import strategies as st

from processing import trigger
from processing.trigger import events


def _original() -> events.Decode:
    """Return the library's decoding, also if another test has installed ours."""
    source = inspect.unwrap(vars(EventHubTriggerConverter)[events.NAME])
    if isinstance(source, staticmethod):
        closure = inspect.getclosurevars(source.__func__)
        return cast("events.Decode", closure.nonlocals["original"])
    return cast("events.Decode", getattr(EventHubTriggerConverter, events.NAME))


ORIGINAL = _original()
LEAN = events.lean(EventHubTriggerConverter, ORIGINAL)


class Collection:
    """The part of a protobuf collection that the worker reads."""

    def __init__(self, values: list[bytes]) -> None:
        self.bytes = values
        self.string = [value.decode("latin-1") for value in values]


def data(bodies: list[bytes], systems: Any, kind: str = "collection_bytes") -> tuple[Any, Any]:
    metadata = {
        "PartitionContext": Datum('{"PartitionId": "1"}', "json"),
        "SystemPropertiesArray": Datum(json.dumps(systems), "json"),
        "Other": Datum("text", "string"),
    }
    return Datum(Collection(bodies), kind), metadata


def fields(event: Any) -> dict[str, Any]:
    """Return every field of an event; an error is a value, too."""
    found: dict[str, Any] = {"body": event.get_body()}
    for name, member in inspect.getmembers(func.EventHubEvent):
        if isinstance(member, property):
            try:
                found[name] = getattr(event, name)
            except Exception as error:
                found[name] = (type(error), str(error))
    return found


VALUES = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.integers(-(2**70), 2**70),
    st.integers(0, 2**40).map(str),
)
SYSTEMS = st.fixed_dictionaries(
    {
        "SequenceNumber": st.one_of(st.none(), st.integers(0, 2**62), st.just("12")),
        "Offset": st.one_of(st.none(), st.integers(-1, 2**40), st.integers(0, 2**40).map(str)),
        "PartitionKey": VALUES,
        "EnqueuedTimeUtc": st.sampled_from(
            [None, "", "2026-11-29T06:24:26.493", "2026-11-29T06:24:26Z", "11/29/2026 06:24:26Z"]
        ),
    },
    optional={
        "iothub-connection-device-id": VALUES,
        "x-opt-kafka": VALUES,
        "message-id": VALUES,
    },
)


@given(st.lists(st.tuples(st.binary(max_size=4), SYSTEMS), min_size=1, max_size=4))
def test_events_equal_those_of_the_library(batch: list[tuple[bytes, dict[str, Any]]]) -> None:
    """Every public field is equal, for all values that the library accepts."""
    arguments = data([body for body, _ in batch], [system for _, system in batch])
    expected, found = ORIGINAL(*arguments), LEAN(*arguments)
    assert [fields(each) for each in found] == [fields(each) for each in expected]
    assert all(isinstance(each, func.EventHubEvent) for each in found)
    assert [each.to_dict() for each in found] == [each.to_dict() for each in expected]


def test_value_that_the_library_refuses_concerns_one_event() -> None:
    """The library refuses the whole batch; a lean event raises where the field is read."""
    good, bad = {"SequenceNumber": 1}, {"SequenceNumber": "no number"}
    arguments = data([b"1", b"2"], [good, bad])
    with pytest.raises(ValueError, match="cannot convert"):
        ORIGINAL(*arguments)
    first, second = LEAN(*arguments)
    assert first.sequence_number == 1
    with pytest.raises(ValueError, match="cannot convert"):
        _ = second.sequence_number


def test_system_properties_are_parsed_once() -> None:
    """The metadata that the app reads contain the parsed list itself."""
    (event,) = LEAN(*data([b"x"], [{"SequenceNumber": 1}]))
    assert event.metadata["SystemPropertiesArray"] == [{"SequenceNumber": 1}]
    assert event.metadata is event.metadata
    assert event.metadata["PartitionContext"] == {"PartitionId": "1"}


@pytest.mark.parametrize("kind", ["collection_string", "json"])
def test_other_data_types_are_left_to_the_library(kind: str) -> None:
    """Functions with other bindings keep the library's events."""
    payload, metadata = data([b"1"], [{"SequenceNumber": 1}], kind)
    if kind == "json":
        payload = Datum("[1]", "json")
    expected, found = ORIGINAL(payload, metadata), LEAN(payload, metadata)
    assert type(found[0]) is type(expected[0]) is func.EventHubEvent
    assert fields(found[0]) == fields(expected[0])


def test_number_of_bodies_and_properties_must_match() -> None:
    """The library raises the same error."""
    arguments = data([b"1", b"2"], [{"SequenceNumber": 1}])
    for decode in (ORIGINAL, LEAN):
        with pytest.raises(AssertionError, match="mismatched"):
            decode(*arguments)


def test_metadata_of_the_worker_are_accepted() -> None:
    """The worker library has a Datum class of its own."""
    payload, metadata = data([b"1"], [{"SequenceNumber": 1}])
    runtime = {name: RuntimeDatum(value.value, value.type) for name, value in metadata.items()}
    (event,) = LEAN(payload, runtime)
    assert event.sequence_number == 1
    assert event.metadata["SystemPropertiesArray"] == [{"SequenceNumber": 1}]


class Converter(EventHubTriggerConverter, binding=None):
    """A converter as in azure-functions 2.3.0."""

    @classmethod
    def decode_multiple_events(cls, data: Any, trigger_metadata: Mapping[str, Any]) -> list[Any]:
        return ORIGINAL(data, trigger_metadata)


def test_installed_decoding_does_not_call_the_library() -> None:
    """A second installation changes nothing."""

    class Changed(Converter, binding=None):
        pass

    assert events.install(Changed)
    installed = vars(Changed)[events.NAME]
    assert events.install(Changed)
    assert vars(Changed)[events.NAME] is installed
    (event,) = Changed.decode_multiple_events(*data([b"1"], [{"SequenceNumber": 1}]))
    assert isinstance(event, events.BoundEvent)


class Renamed:
    """A converter whose method has another name."""


class Extended(Converter, binding=None):
    """A converter whose method takes more."""

    @classmethod
    def decode_multiple_events(  # type: ignore[override]
        cls, data: Any, trigger_metadata: Mapping[str, Any], more: str
    ) -> list[Any]:
        return ORIGINAL(data, trigger_metadata)


class Different(Converter, binding=None):
    """A converter that gives another result."""

    @classmethod
    def decode_multiple_events(cls, data: Any, trigger_metadata: Mapping[str, Any]) -> list[Any]:
        return ORIGINAL(data, trigger_metadata)[::-1]


class Failing(Converter, binding=None):
    """A converter that raises for the sample."""

    @classmethod
    def decode_multiple_events(cls, data: Any, trigger_metadata: Mapping[str, Any]) -> list[Any]:
        raise LookupError("not today")


@pytest.mark.parametrize("converter", [Renamed, Extended, Different, Failing])
def test_unknown_library_keeps_its_decoding(
    converter: type, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning says so; the app works, only slower."""
    before = dict(vars(converter))
    with caplog.at_level(logging.WARNING):
        assert not events.install(converter)
    assert dict(vars(converter)) == before
    assert "is not replaced" in caplog.text


def test_library_without_the_expected_modules_keeps_its_decoding(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The app starts, and a warning says why decoding is slow."""
    monkeypatch.delitem(sys.modules, "processing.trigger.events")
    monkeypatch.delattr(trigger, "events")
    monkeypatch.setitem(sys.modules, "azure.functions.eventhub", None)
    with caplog.at_level(logging.WARNING):
        trigger.install()
    assert "is not replaced" in caplog.text
