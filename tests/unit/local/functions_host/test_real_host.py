"""The comparison with the real host's batches reports each kind of difference."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.support.real_host import captured, datums, differences, sample

type Change = Callable[[dict[str, Any]], object]

_, BATCH = sample()
METADATA = BATCH["trigger_metadata"]


def replaced(name: str, old: str, new: str) -> Change:
    """Return a change of the JSON text of one field."""

    def change(batch: dict[str, Any]) -> None:
        field = batch["trigger_metadata"][name]
        assert old in field["value"]
        field["value"] = field["value"].replace(old, new, 1)

    return change


def assigned(name: str, key: str, value: object) -> Change:
    """Return a change of the type or the value of one field."""

    def change(batch: dict[str, Any]) -> None:
        field = batch["data"] if name == "data" else batch["trigger_metadata"][name]
        assert field[key] != value
        field[key] = value

    return change


SYSTEM, PROPERTIES = "SystemPropertiesArray", "PropertiesArray"
CHANGES: dict[str, Change] = {
    "body": assigned("data", "value", [*BATCH["data"]["value"][:-1], "AAAA"]),
    "no body": assigned("data", "value", BATCH["data"]["value"][:-1]),
    "bodies as text": assigned("data", "type", "collection_string"),
    "number": replaced(PROPERTIES, '"counter":1', '"counter":2'),
    "number as text": replaced(PROPERTIES, '"counter":1', '"counter":"1"'),
    "text": replaced(PROPERTIES, '"hello"', '"Hello"'),
    "truth": replaced(PROPERTIES, "true", "1"),
    "fraction": replaced(PROPERTIES, '"ratio":1.5', '"ratio":1.50'),
    "null": replaced(PROPERTIES, '"none":null', '"none":""'),
    "binary": replaced(PROPERTIES, '"AP/+"', '"AP-_"'),
    "time": replaced(PROPERTIES, "03:04:05Z", "03:04:05+00:00"),
    "uuid": replaced(PROPERTIES, "000000000005", "000000000006"),
    "bare NaN": replaced(PROPERTIES, '"NaN"', "NaN"),
    "digits of a decimal": replaced(PROPERTIES, "12.50", "12.5"),
    "decimal as text": replaced(PROPERTIES, "12.50", '"12.50"'),
    "order of properties": replaced(
        PROPERTIES, '"counter":1,"text":"hello"', '"text":"hello","counter":1'
    ),
    "missing property": replaced(PROPERTIES, ',"nan":"NaN"', ""),
    "events without properties": replaced(PROPERTIES, "{}", "null"),
    "AMQP property": replaced(SYSTEM, '"msg-1"', '"msg-2"'),
    "name of an AMQP property": replaced(SYSTEM, '"content-type"', '"ContentType"'),
    "annotation": replaced(SYSTEM, '"x-opt-kafka":1', '"x-opt-kafka":2'),
    "missing annotation": replaced(SYSTEM, '"iothub-connection-device-id":"dev1",', ""),
    "key": replaced(SYSTEM, '"PartitionKey":"eve"', '"PartitionKey":"eva"'),
    "no key": replaced(SYSTEM, '"PartitionKey":null', '"PartitionKey":""'),
    "key without an annotation": replaced(SYSTEM, '"x-opt-partition-key":"eve",', ""),
    "sequence number as text": replaced(SYSTEM, '"SequenceNumber":151201', '"SequenceNumber":"1"'),
    "offset as a number": replaced(SYSTEM, '"Offset":"30195091"', '"Offset":30195091'),
    "offset that is no number": replaced(
        SYSTEM, '"x-opt-offset":"30195091"', '"x-opt-offset":"1:2"'
    ),
    "OffsetString": replaced(
        SYSTEM, '"PartitionKey":null', '"OffsetString":"1","PartitionKey":null'
    ),
    "time with a zone": replaced(SYSTEM, '.493"}', '.493+00:00"}'),
    "annotation's time without a zone": replaced(SYSTEM, "+00:00", ""),
    "time with a zero": replaced(SYSTEM, '.493"}', '.490"}'),
    "order of system properties": replaced(
        SYSTEM,
        '"message-id":"msg-1","correlation-id":"corr-1"',
        '"correlation-id":"corr-1","message-id":"msg-1"',
    ),
    "array of times": replaced("EnqueuedTimeUtcArray", '.501"', '.501Z"'),
    "array of offsets": assigned(
        "OffsetArray", "value", [*METADATA["OffsetArray"]["value"][:-1], "x"]
    ),
    "array of keys with nulls": assigned("PartitionKeyArray", "value", [*[None] * 5, "eve"]),
    "array of sequence numbers": assigned("SequenceNumberArray", "value", [151201]),
    "array's type": assigned("SequenceNumberArray", "type", "json"),
    "context's namespace": replaced("PartitionContext", '"127.0.0.1"', '"127.0.0.1:5672"'),
    "context's field": replaced("PartitionContext", '"IsCheckpointingAfterInvocation":true,', ""),
    "context's order": replaced(
        "TriggerPartitionContext",
        '"EventHubName":"events","ConsumerGroup":"$Default"',
        '"ConsumerGroup":"$Default","EventHubName":"events"',
    ),
    "missing metadata": lambda batch: batch["trigger_metadata"].pop("TriggerPartitionContext"),
    "more metadata": lambda batch: batch["trigger_metadata"].update(
        OffsetStringArray={"type": "collection_string", "value": []}
    ),
}


@pytest.mark.parametrize("batch", sample())
def test_batch_equals_itself(batch: dict[str, Any]) -> None:
    assert differences(batch, batch) == []
    assert differences(batch, captured(*datums(batch))) == []


def test_numbers_offsets_and_times_may_differ() -> None:
    later = json.loads(
        json.dumps(BATCH)
        .replace("15120", "16120")
        .replace("301955", "401955")
        .replace("T06:24:26.493", "T07:25:00")
    )
    assert later != BATCH
    assert differences(BATCH, later) == []


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_change_of_a_field_is_reported(change: Change) -> None:
    changed = deepcopy(BATCH)
    change(changed)
    assert differences(BATCH, changed)
    assert differences(changed, BATCH)
