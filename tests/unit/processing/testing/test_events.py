"""`event`: bodies, defaults and ids."""

from __future__ import annotations

import json

import pydantic
import pytest

from processing.testing.events import event


class Order(pydantic.BaseModel):
    total: int


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\xff\x00", b"\xff\x00"),
        (bytearray(b"x"), b"x"),
        ("é", "é".encode()),
        (None, b""),
        ({"total": 3}, b'{"total": 3}'),
        ([1, True], b"[1, true]"),
        (Order(total=3), b'{"total":3}'),
    ],
)
def test_body_becomes_bytes(body: object, expected: bytes) -> None:
    assert event(body).body == expected


def test_unusable_body_is_refused() -> None:
    with pytest.raises(TypeError, match=r"the body is a object .*; it takes bytes, text"):
        event(object())


def test_each_event_comes_after_the_one_created_before() -> None:
    first, second = event(), event()
    assert first.sequence_number < second.sequence_number
    assert first.enqueued_ms < second.enqueued_ms
    assert first.id != second.id


def test_parts_can_be_chosen() -> None:
    found = event(
        "x",
        key="k",
        partition=3,
        properties={"a": [1]},
        system_properties={"message-id": "m"},
        sequence_number=12,
        enqueued_ms=1_700_000_000_000,
        offset="99",
    )
    assert (found.key, found.partition, found.sequence_number) == ("k", "3", 12)
    assert (found.properties, found.message_id, found.offset) == ({"a": [1]}, "m", "99")
    assert found.id == "test.servicebus.windows.net/events/3/12/1700000000000"
    assert json.dumps(found.properties) == '{"a": [1]}'
    with pytest.raises(TypeError):
        found.properties["a"] = 1  # type: ignore[index]


def test_id_gives_an_event_its_whole_identity() -> None:
    text = "ns.servicebus.windows.net/orders/3/12/1700000000000"
    assert event(id=text).id == text
    with pytest.raises(ValueError, match="takes namespace/hub/partition"):
        event(id="3/12")
    with pytest.raises(ValueError, match="give the id alone"):
        event(id=text, partition=3)
