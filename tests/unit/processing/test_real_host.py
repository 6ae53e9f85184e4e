"""The batches of Microsoft's host, through azure-functions and EventBatch."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.functions.eventhub import EventHubTriggerConverter

from processing.event import Event, EventBatch
from processing.identity import Identity, Source
from processing.trigger import events, times
from tests.support.real_host import datums, sample

SOURCE = Source(Identity("127.0.0.1", "events", "$default"), "1")


def batches() -> list[EventBatch]:
    """Return the captured batches as `process_events` gets them."""
    found = []
    for batch in sample():
        datum, metadata = datums(batch)
        bound = EventHubTriggerConverter.decode(datum, trigger_metadata=metadata)
        assert isinstance(bound, list)
        found.append(EventBatch.from_binding(bound))
    return found


def milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def library(name: str) -> Any:
    """Return the library's own method, also if another test has replaced it."""
    method = getattr(EventHubTriggerConverter, name)
    if getattr(method, "is_fast", False) or getattr(method, "is_lean", False):
        return inspect.getclosurevars(method).nonlocals["original"]
    return method


@pytest.mark.parametrize("faster", [False, True])
def test_real_batches_become_events_with_all_fields(
    faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is the same with the library's own decoding and with the app's faster one."""
    for name in (times.NAME, events.NAME):  # restored after the test
        monkeypatch.setattr(EventHubTriggerConverter, name, library(name))
    if faster:
        assert times.install()
        assert events.install()
    first, second = batches()
    assert (first.source, second.source) == (SOURCE, SOURCE)
    assert first.events == [
        Event(
            body=b"x",
            key=None,
            properties={"price": 12.5},
            source=SOURCE,
            sequence_number=151200,
            offset="30194922",
            enqueued_ms=milliseconds("2026-11-29T06:22:44.736"),
            system_properties={"iothub-connection-device-id": "dev1"},
        )
    ]
    assert [event.body for event in second.events] == [
        b'{"amount": 1}',
        b"",
        b"\xff\xfe\x00",
        b"no properties",
        b"device",
        b"keyed eve",
    ]
    assert [event.key for event in second.events] == [None, None, None, None, None, "eve"]
    assert [event.properties for event in second.events] == [
        {
            "counter": 1,
            "text": "hello",
            "flag": True,
            "ratio": 1.5,
            "none": None,
            "data": "AP/+",
            "when": "2026-01-02T03:04:05Z",
            "id": "00000000-0000-0000-0000-000000000005",
            "nan": "NaN",
        },
        {},
        {},
        {},
        {"price": 12.5, "k": "v"},
        {"n": 1},
    ]
    assert [event.sequence_number for event in second.events] == list(range(151201, 151207))
    assert [event.offset for event in second.events] == [
        "30195091",
        "30195378",
        "30195481",
        "30195587",
        "30195703",
        "30195898",
    ]
    assert [event.enqueued_ms for event in second.events] == [
        milliseconds(f"2026-11-29T06:24:26.{fraction}")
        for fraction in (493, 493, 493, 493, 496, 501)
    ]
    assert [event.system_properties for event in second.events] == [
        {"message-id": "msg-1", "correlation-id": "corr-1", "content-type": "application/json"},
        {},
        {},
        {},
        {"iothub-connection-device-id": "dev1", "x-opt-kafka": 1},
        {},
    ]
    event = second.events[0]
    assert (event.message_id, event.correlation_id) == ("msg-1", "corr-1")
    assert event.content_type == "application/json"
    assert event.json() == {"amount": 1}
    assert event.id == "127.0.0.1/events/1/151201/1795933466493"
    assert event.enqueued_time == datetime(2026, 11, 29, 6, 24, 26, 493_000, tzinfo=UTC)
