"""Splitting and storing of published messages without changes, and detection of garbage."""

from __future__ import annotations

from typing import Any

import pytest
from azure.eventhub._pyamqp._decode import decode_payload
from azure.eventhub._pyamqp._encode import encode_payload
from azure.eventhub._pyamqp.message import BatchMessage, Header, Message, Properties
from azure.eventhub._pyamqp.utils import add_batch
from hypothesis import example, given
from hypothesis import strategies as st
from proton import Message as ProtonMessage

from local.event_hubs.errors import AmqpError
from local.event_hubs.hub.messages import (
    BATCH_FORMAT,
    deliverable,
    split,
    with_delivery_annotations,
)
from local.event_hubs.protocol.encoding import skip_value

PRIMITIVES = st.none() | st.booleans() | st.integers(-(2**31), 2**31 - 1) | st.text(max_size=20)


def encode(message: Message) -> bytes:
    output = bytearray()
    encode_payload(output, message)
    return bytes(output)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Draw a message that the Python SDK can encode."""
    fields: dict[str, Any] = {"data": [draw(st.binary(max_size=400))]}
    if draw(st.booleans()):
        fields["header"] = Header(durable=True)
    if draw(st.booleans()):
        fields["message_annotations"] = draw(
            st.dictionaries(st.sampled_from(["x-opt-mine", "x-opt-offset", "other"]), PRIMITIVES)
        )
    if draw(st.booleans()):
        fields["properties"] = Properties(message_id=draw(st.text(max_size=9)))
    if draw(st.booleans()):
        fields["application_properties"] = draw(
            st.dictionaries(st.text(max_size=300), PRIMITIVES, max_size=5)
        )
    if draw(st.booleans()):
        fields["delivery_annotations"] = {"secret": 1}
    if draw(st.booleans()):
        fields["footer"] = {"end": 1}
    return Message(**fields)


@given(messages(), st.integers(0, 2**62), st.integers(0, 2**62), st.integers(0, 2**52))
def test_a_message_is_delivered_unchanged(
    message: Message, sequence: int, offset: int, time: int
) -> None:
    """All sections except delivery annotations are delivered; system annotations take priority."""
    sent = decode_payload(memoryview(encode(message)))
    key, (event,) = split(encode(message), 0)
    assert key is None
    received = decode_payload(memoryview(deliverable(event, sequence, offset, time)))
    annotations = dict(sent.message_annotations or {})
    annotations.update(
        {
            b"x-opt-sequence-number": sequence,
            b"x-opt-offset": str(offset).encode(),
            b"x-opt-enqueued-time": time,
        }
    )
    assert received.message_annotations == annotations
    assert received.delivery_annotations is None
    for section in ("header", "properties", "application_properties", "data", "footer"):
        assert getattr(received, section) == getattr(sent, section)


@given(messages(), st.integers(0, 9))
def test_proton_decodes_deliveries(message: Message, sequence: int) -> None:
    """A second, strict implementation decodes deliveries with and without annotations."""
    _, (event,) = split(encode(message), 0)
    delivery = deliverable(event, sequence, 7, 9)
    section = b"\x00\x53\x71\xc1\x06\x02\xa3\x01n\x54\x05"
    for data in (delivery, with_delivery_annotations(delivery, section)):
        decoded = ProtonMessage()
        decoded.decode(data)
        assert decoded.annotations["x-opt-sequence-number"] == sequence
    assert dict(decoded.instructions) == {"n": 5}


def batch(*inner: Message, key: str | None = None) -> bytes:
    envelope = BatchMessage(data=[])
    if key is not None:
        envelope = envelope._replace(
            message_annotations={b"x-opt-partition-key": key}, header=Header(durable=True)
        )
    for message in inner:
        add_batch(envelope, message)  # type: ignore[no-untyped-call]
    return encode(envelope)


@given(st.lists(messages(), max_size=8), st.none() | st.text(min_size=1, max_size=128))
def test_a_batch_is_split_into_its_messages(inner: list[Message], key: str | None) -> None:
    """The events of a batch equal single events; events without a key get the envelope's key."""
    found, events = split(batch(*inner, key=key), BATCH_FORMAT)
    assert found == (None if key is None else key.encode())
    assert len(events) == len(inner)
    for message, event in zip(inner, events, strict=True):
        (alone,) = split(encode(message), 0)[1]
        assert (event.header, event.rest) == (alone.header, alone.rest)
        received = decode_payload(memoryview(deliverable(event, 1, 2, 3)))
        assert (received.message_annotations or {}).get(b"x-opt-partition-key") == found


def test_a_batch_without_a_key_gets_the_first_key_of_its_messages() -> None:
    keyed = Message(data=[b"x"], message_annotations={b"x-opt-partition-key": "k"})
    plain = Message(data=[b"x"])
    assert split(batch(plain, keyed), BATCH_FORMAT)[0] == b"k"


def test_a_key_that_is_not_a_string_is_ignored() -> None:
    """The service ignores such a key, and the event goes to the next partition in turn."""
    message = Message(data=[b"x"], message_annotations={b"x-opt-partition-key": 7})
    assert split(encode(message), 0)[0] is None


def test_a_single_message_that_looks_like_a_batch_is_one_event() -> None:
    """Only the message format marks a batch."""
    assert len(split(batch(Message(data=[b"a"]), Message(data=[b"b"])), 0)[1]) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"hello",
        b"\x00\x53\x75",
        b"\x00\x53\x75\xa0\x05abc",
        b"\x00\x53\x75\xb0\xff\xff\xff\xffx",
        b"\x00\x53\x6f\x40",
        b"\x00\x53\x72\xa1\x01x",
        b"\x00\x53\x72\xc1\x01\x02",
        b"\x00\x53\x72\xc1\x00",
        b"\x00\x53\x72\xd1\x00\x00\x00\x04\xff\xff\xff\xff",
        b"\x00\xa3\x04name\x40",
        b"\x00\x80\x00\x00",
    ],
)
@pytest.mark.parametrize("message_format", [0, BATCH_FORMAT])
def test_garbage_is_a_decode_error(data: bytes, message_format: int) -> None:
    with pytest.raises(AmqpError, match="amqp:decode-error"):
        split(data, message_format)


def test_a_batch_of_garbage_is_a_decode_error() -> None:
    with pytest.raises(AmqpError, match="amqp:decode-error"):
        split(b"\x00\x53\x75\xa0\x03abc", BATCH_FORMAT)
    with pytest.raises(AmqpError, match="a data section does not contain a binary value"):
        split(b"\x00\x53\x75\xa1\x03abc", BATCH_FORMAT)


@given(st.binary(max_size=60))
@example(b"\x00" * 50)
def test_any_bytes_are_a_message_or_a_decode_error(data: bytes) -> None:
    for message_format in (0, BATCH_FORMAT):
        try:
            _, events = split(data, message_format)
        except AmqpError as error:
            assert error.condition == "amqp:decode-error"
        else:
            for event in events:
                delivery = deliverable(event, 1, 2, 3)
                position = 0
                while position < len(delivery):
                    position = skip_value(delivery, position)


@given(messages(), st.data())
def test_a_damaged_message_is_refused_or_has_complete_sections(
    message: Message, data: st.DataObject
) -> None:
    encoded = bytearray(encode(message))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] = data.draw(st.integers(0, 255))
    try:
        _, (event,) = split(bytes(encoded), 0)
    except AmqpError as error:
        assert error.condition == "amqp:decode-error"
        return
    delivery = deliverable(event, 1, 2, 3)
    end = 0
    while end < len(delivery):
        end = skip_value(delivery, end)
    assert end == len(delivery)
